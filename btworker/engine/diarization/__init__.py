"""Who speaks when: pyannote.audio's pipeline, loaded once in a child, made faster, and kept to a bounded memory.

    source.py     where a pipeline comes from, or the sentence that says why there is none; imports no pyannote
    loading.py    settings -> a pyannote pipeline
    pipeline.py   pyannote's SpeakerDiarization with one pass of the embedding for all speakers of a chunk
    ahead.py      on a GPU: voices of the first chunks beside the segmentation of the next ones
    blocks.py     long recordings: where they are cut, and who of one block is who of another (pure)
    relay.py      whose block has the networks, and whose the clusters
    diarizer.py   samples -> turns, with progress and a way out
    speakers.py   whose each word is (pure)

What a failure costs a job is decided in engine/job/speaker_stage.py.
"""
