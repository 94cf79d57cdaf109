"""Invented and real segments in numbers, for the thresholds of engine/quality/hallucinations.py.

clips.py makes sound of the recordings, kept.py what the engine makes of it, labels.py says what is invented,
__main__.py counts what is flagged.
"""
