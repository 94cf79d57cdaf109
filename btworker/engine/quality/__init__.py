"""What is doubtful about a text. Pure: no torch, no model. Runs in the child.

hallucinations.py says which segments the model may have invented, by their text and by the numbers of measures.py, and
second_look.py what is worth decoding once more; loops.py finds text that goes round in circles, also for the decoder,
which then tries again; coverage.py lists speech without text; tidy.py puts times in order. phrases.py and scripts.py
are what the first of them knows about languages.
"""
