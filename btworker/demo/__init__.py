"""Data of the embedded default: a tiny Whisper checkpoint, a sample recording with its text, and their cards.

There is no code here; `btworker demo` and the tests read the files. The model knows its own small vocabulary only.
"""
