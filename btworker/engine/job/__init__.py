"""An attempt at a job, from its task to its last event.

    equipment.py      what opening the engine built, and attempts work with
    attempt.py        all inputs, then all files
    input.py          one input: its sound, its words, its speakers
    speaker_stage.py  speakers for the words, or a warning that says why there are none
    results.py        the output files, and how long each stage took
    events.py         what the parent is sent
    model_slot.py     which of a child's jobs has its model

engine/engine.py begins one for each task.
"""
