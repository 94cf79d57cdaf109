"""The pure parts of the engine's bench: roofs, spreads, tables, the plot, and the lengths of case V."""

import statistics
from types import SimpleNamespace
from xml.etree import ElementTree as ET

import pytest

from bench.speed import roof
from bench.speed.figures import Spread, how_alike, markdown_table, speedup, svg_bars, text_table
from bench.speed.roof import Machine

LARGE_V3 = SimpleNamespace(
    n_mels=128,
    n_audio_ctx=1500,
    n_audio_state=1280,
    n_audio_layer=32,
    n_vocab=51866,
    n_text_state=1280,
    n_text_layer=32,
)
HALF = 2
H200 = Machine(bytes_per_s=4.8e12, flop_per_s=989e12)


def test_large_v3_costs_what_is_known_of_it() -> None:
    """Encoder 2.27 TFLOP, projection 0.315; a step reads 1.60 GB, 245.8 MB a window, 164 KB a token of the past."""
    assert roof.encoder_flop(LARGE_V3) == pytest.approx(2.27e12, rel=0.005)
    assert roof.cross_projection_flop(LARGE_V3) == pytest.approx(0.315e12, rel=0.005)
    assert roof.step_weights(LARGE_V3) * HALF == pytest.approx(1.60e9, rel=0.005)
    assert roof.cross_numbers(LARGE_V3) * HALF == pytest.approx(245.8e6, rel=0.005)
    assert roof.past_numbers(LARGE_V3) * HALF == pytest.approx(164e3, rel=0.005)


def test_the_roof_of_a_known_card() -> None:
    """An H200 decodes about 114 windows of 100 tokens a second at best; larger batches bring it no further."""
    rates = [1 / roof.window_s(LARGE_V3, H200, batch=batch, tokens=100, itemsize=HALF) for batch in (64, 256)]
    assert rates == pytest.approx([116, 122], rel=0.05)
    assert 1 / roof.window_s(LARGE_V3, H200, batch=1, tokens=100, itemsize=HALF) < rates[0] / 4


def test_a_step_is_bound_by_the_scarcer_of_bytes_and_arithmetic() -> None:
    """Fast memory leaves arithmetic, and the other way round."""
    by_bytes = Machine(bytes_per_s=1e9, flop_per_s=1e30)
    by_flop = Machine(bytes_per_s=1e30, flop_per_s=1e12)
    each = roof.cross_numbers(LARGE_V3) + 10 * roof.past_numbers(LARGE_V3)
    numbers = roof.step_weights(LARGE_V3) + 4 * each
    assert roof.step_s(LARGE_V3, by_bytes, batch=4, history=10, itemsize=4) == pytest.approx(numbers * 4 / 1e9)
    flop = 8 * (roof.step_weights(LARGE_V3) + each)
    assert roof.step_s(LARGE_V3, by_flop, batch=4, history=10, itemsize=4) == pytest.approx(flop / 1e12)


def test_speedups_are_taken_round_by_round() -> None:
    """Each round's pair ran side by side; median and range are of the ratios."""
    found = speedup([10.0, 30.0, 8.0], [1.0, 2.0, 4.0])
    assert found.values == (10.0, 15.0, 2.0)
    assert found.median == 10.0
    assert str(found) == "10 (2 - 15)"


def test_tables_line_up() -> None:
    """On the terminal by spaces; in Markdown every line has as many cells, whatever is in them."""
    header, rows = ("who", "windows/s"), [("ours", "12"), ("a | b", "3")]
    lines = text_table(header, rows).splitlines()
    assert [line.index(cell) for line, cell in zip((lines[0], *lines[2:]), ("windows/s", "12", "3"), strict=True)] == [
        9
    ] * 3
    assert {line.count("|") for line in markdown_table(header, rows).splitlines()} == {3}


def test_the_plot_is_well_formed() -> None:
    """Also with names that XML has to escape; the longest bar is as long as there is room."""
    plot = svg_bars("a < b", {"ours & more": Spread((2.0, 4.0, 3.0)), "theirs": Spread((1.0,))}, unit="w/s")
    bars = [
        float(one.get("width", "0"))
        for one in ET.fromstring(plot).iter("{http://www.w3.org/2000/svg}rect")
        if one.get("height") == "18"
    ]
    assert bars == pytest.approx([315.0, 105.0])
    assert statistics.median((2.0, 4.0, 3.0)) == 3.0


def test_a_gpu_may_say_a_word_otherwise_and_a_cpu_none() -> None:
    """Which of two words is undecided depends on the batch; a text that is missing is another text on both."""
    text = "one two three four five six seven eight nine ten"
    other = text.replace("six", "sick")
    assert how_alike([text, text], [text, text], most=0.0) == "the same texts"
    assert how_alike([text, other], [text, text], most=0.05) == "1 of 20 words differ"
    for found, wanted, most in (
        ([text, other], [text, text], 0.04),
        ([text + "."], [text], 0.0),
        ([text, ""], [text, text], 0.05),
        ([""], [""], 0.05),
        ([text], [text, text], 0.5),
    ):
        with pytest.raises(AssertionError):
            how_alike(found, wanted, most=most)
