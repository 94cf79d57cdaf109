"""From a file to 16 kHz samples.

    pool.py         some ffmpegs at once, and the sound of a file while one is at it
    recording.py    what the recognition asks of a sound
    ffmpeg.py       one ffmpeg and its limits
    verdict.py      what its end means: the file's doing, or this machine's
    process.py      how it is started and ended
    containers.py   headers that lie
    ffmpeg_log.py   what ffmpeg wrote about the file
    sandbox.py      the little that ffmpeg may do

Where ffmpeg is, and its arguments: btworker/ffmpeg.py.
"""
