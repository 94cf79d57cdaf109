"""Checkpoints in the forms in which people have them, as what openai-whisper's checkpoint holds: reading.py finds out
which form it is. Numbers are mapped from their files, and nothing of a checkpoint is run. Runs in the child.
"""
