"""Where somebody speaks: silero-vad's network over a whole recording, and the recording cut into windows by it.

network.py turns samples into speech probabilities; spans.py turns those into spans of speech; packing.py puts spans
together into windows of at most 30 s for the decoder; detector.py is the way in. Only network.py and detector.py touch
torch. Runs in the child.
"""
