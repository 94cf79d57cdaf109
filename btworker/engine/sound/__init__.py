"""From a file to 16 kHz samples.

    pool.py         some ffmpegs at once, and the sound of a file while one is at it
    recording.py    what the recognition asks of a sound
    decoding.py     a file: the recordings in it
    one_recording.py  the runs of ffmpeg that one of them needs
    ffmpeg.py       one run and its limits
    process.py      how ffmpeg is started and ended
    sink.py         its packets (packets.py) -> samples where they belong (clock.py), of one channel (mix.py) or of each
    layout.py       what is wanted of a recording, and where it lies in its scratch files (files.py)
    seeking.py      where ffmpeg begins for a range
    alike.py        channels that are silent, or have the same sound
    parts.py        recordings one behind the other in a file: beginnings.py, walks.py, reader.py
    verdict.py      what its end means: the file's doing, or this machine's
    ending.py       whether a file reaches the end that it promises
    containers.py   headers that lie
    ffmpeg_log.py   what ffmpeg wrote about the file
    sandbox.py      the little that ffmpeg may do

Where ffmpeg is, and its arguments: btworker/ffmpeg.py.
"""
