"""Speech to text: openai-whisper's models, decoded window by window. The only importer of whisper.

weights.py loads a model; recognition.py is the way in and follows one recording from its first window to its last;
mel.py turns sound into the windows' input; window_decoder.py runs whisper on one of them; timeline.py turns its
tokens into segments and says where the next window begins; journal.py keeps finished windows on disk.
"""
