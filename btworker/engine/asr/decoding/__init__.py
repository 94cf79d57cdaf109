"""Windows in, tokens out, many at a time: openai-whisper's decoding with the same results.

    network.py     the model
    rules.py       which token may come next
    lane.py        windows that are being decoded, and one step of all of them; beam.py is its beam search
    places.py      which window is where in a lane
    decoder.py     refills lanes, and decides what is decoded again
    driver.py      who makes its rounds
    finishing.py   what becomes of windows that are at their end
    requests.py    what the decoder is asked, and its answers
    alignment.py   when each word was spoken
    graphs.py      steps as CUDA graphs

engine/asr/transcriber.py makes the requests.
"""
