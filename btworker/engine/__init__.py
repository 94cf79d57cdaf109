"""Speech: everything that imports torch. Runs in the children only, loaded by name (see WorkerSpec.engine).

    engine.py       what a child loads: looks around, loads the default model, begins attempts; imports no torch itself
    job/            an attempt at a job: its inputs, its speakers, its files
    asr/            speech to text
    diarization/    who speaks when, and whose is a word
    vad/            where somebody speaks, and where windows are cut
    quality/        what is doubtful about a text
    sound/          ffmpeg, and samples that are still coming in
    cooperate/      several pieces of work in one thread
    stack/          versions, packages, the GPU, and what their errors mean

Each imports only what stands below it (setup.cfg).
"""
