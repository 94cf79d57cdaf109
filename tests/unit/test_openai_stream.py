"""The text of a stream as it grows: nothing is emitted that the end would take back."""

import pytest

from btworker.web.openai.stream import GrowingText


@pytest.mark.parametrize(
    ("windows", "whole", "pieces"),
    [
        ([[" Hello", " there."], [" Bye. "]], " Hello there. Bye. ", ["Hello there.", " Bye."]),
        ([["\u4f60\u597d"], ["\u4e16\u754c"]], "\u4f60\u597d\u4e16\u754c", ["\u4f60\u597d", "\u4e16\u754c"]),
        ([["  "], [" one"], [], [""], [" two"]], "   one two", ["one", " two"]),
        ([[" a ", "\n"], [" b"]], " a \n b", ["a", " \n b"]),
        ([[" one"]], " one two", ["one", " two"]),
        ([], " all at once", ["all at once"]),
        ([], "", []),
        # half a sign in each of two segments: one sign in the whole, so both wait for it
        ([[" ha\ufffd", "\ufffdlf"], [" more"]], " ha\u00e9lf more", ["ha\u00e9lf more"]),
        ([[" yes"], ["\ufffdlf "], [" more"]], " yes\u00e9lf  more", ["yes", "\u00e9lf  more"]),
        # a stored text that begins otherwise does not change what was emitted
        ([[" one"], [" two"]], "something else", ["one", " two"]),
        ([[" one"], [" \ufffd two "]], "something else", ["one", " \ufffd two"]),
    ],
)
def test_pieces_joined_are_the_text(windows: list[list[str]], whole: str, pieces: list[str]) -> None:
    """As early as they are certain, without white space at either end, and equal to the text that is stored at last."""
    text = GrowingText()
    emitted = [*map(text.take, windows), text.finish(whole.strip())]
    assert [piece for piece in emitted if piece] == pieces
    assert text.text == "".join(emitted) == text.text.strip()
