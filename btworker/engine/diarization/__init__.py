"""Who speaks when: pyannote.audio's pipeline, loaded once in a child, made faster, and kept to a bounded memory.

    loading.py    settings -> a pyannote pipeline, or the sentence that says why there is none
    pipeline.py   pyannote's SpeakerDiarization with one pass of the embedding for all speakers of a chunk
    blocks.py     long recordings: where they are cut, and who of one block is who of another (pure)
    diarizer.py   samples -> turns, with progress and a way out

Which words are whose is decided in engine/diarization/speakers.py.
"""
