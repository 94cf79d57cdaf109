"""Speech to text: openai-whisper's models, decoded window by window. The only importer of whisper.

weights.py loads a model; recognition.py is the way in and follows one recording from its first window to its last, by
exact.py or fast.py; mel.py turns sound into the windows' input; transcriber.py asks the decoder (decoding/) for a
window's text; second_look.py decodes doubtful text once more; timeline.py cuts its tokens into segments and finds where
the next window begins; journal.py keeps finished windows on disk; spread/ shares a long recording with other processes.
"""
