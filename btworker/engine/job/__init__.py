"""An attempt at a job, from its task to its last event.

    equipment.py      what opening the engine built, and attempts work with
    attempt.py        all inputs, then all files
    input.py          one input: its sound, its words, its speakers
    text_run.py       the text of it, or of a take of it
    takes.py          takes: ranges and channels that are transcribed by themselves, and how they become one transcript
    in_takes.py       an input that has some; live_text.py: their segments in order, for subscribers
    speaker_stage.py  speakers for the words, or a warning that says why there are none
    results.py        the output files, and how long each stage took
    events.py         what the parent is sent
    model_slot.py     which of a child's jobs has its model

engine/engine.py begins one for each task.
"""
