"""Windows in, tokens out, many at a time: openai-whisper's decoding with the same results.

network.py is the model; rules.py decides what may be said next; lane.py holds windows that are being decoded, and
makes a step of all of them; beam.py is its beam search; decoder.py refills lanes and decides what is decoded again;
alignment.py finds when each word was said.
"""
