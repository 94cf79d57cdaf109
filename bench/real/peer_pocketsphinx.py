"""Forced alignment of English texts by pocketsphinx: a request on stdin, words with times on stdout, as JSON.

Its acoustic model comes in its wheel, is no Whisper, and knows where a word begins to 10 ms. Runs in the peers'
environment (make bench-peers); engines.py is the other side.
"""

import json
import os
import re
import sys
from typing import Any

import numpy as np
import pocketsphinx

BEAM = 1e-80
"""How much less probable than the best a path may become and be kept: a text that is known may take its time."""
ABBREVIATIONS = {"mr": "mister", "mrs": "missus", "dr": "doctor"}


def main() -> None:
    """What libraries print goes to stderr."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    request = json.load(sys.stdin)
    pairs = zip(request["samples"], request["texts"], strict=True)
    json.dump([_aligned(path, text) for path, text in pairs], answers)
    answers.close()


def _aligned(path: str, text: str) -> list[dict[str, Any]]:
    """The words in their order; none where one is not in the dictionary, or the text does not fit the sound."""
    decoder = pocketsphinx.Decoder(
        lm=None, loglevel="FATAL", beam=BEAM, pbeam=BEAM, wbeam=BEAM, bestpath=False, samprate=16_000
    )
    plain = re.findall(r"[a-z']+", text.lower().replace("\u2019", "'"))
    words = [ABBREVIATIONS.get(word, word) for word in plain]
    if not all(_is_known(decoder, word) for word in words):
        return []
    try:
        decoder.set_align_text(" ".join(words))
        decoder.start_utt()
        decoder.process_raw(np.load(path).tobytes(), full_utt=True)
        decoder.end_utt()
        found = list(decoder.seg() or ())
    except RuntimeError:
        return []
    return [
        {"text": f" {one.word.partition('(')[0]}", "start": one.start_frame / 100, "end": one.end_frame / 100}
        for one in found
        if not one.word.startswith("<")
    ]


def _is_known(decoder: Any, word: str) -> bool:
    """Also a word that is made of two of the dictionary's, such as "woodcutters", which it is given then."""
    if decoder.lookup_word(word) is not None:
        return True
    for cut in range(3, len(word) - 2):
        parts = [decoder.lookup_word(part) for part in (word[:cut], word[cut:])]
        if None not in parts:
            decoder.add_word(word, " ".join(parts))
            return True
    return False


if __name__ == "__main__":
    main()
