"""Where packets of sound are placed by their time stamps, and how channels become one: without ffmpeg."""

import struct
from collections.abc import Iterable
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from btworker.engine.sound.clock import Gap, MediaClock
from btworker.engine.sound.ffmpeg_log import Track, read_report
from btworker.engine.sound.mix import Mixdown, mixes
from btworker.engine.sound.packets import PacketReader
from btworker.ffmpeg import SAMPLE_RATE

STEP_S = 0.1
FORM = f"sample_rates={SAMPLE_RATE}:sample_fmts=s16:channel_layouts="
PACKET = bytes(2 * int(STEP_S * SAMPLE_RATE))


def stamps(*stretches: tuple[float, float]) -> list[float]:
    """Time stamps of packets of 0.1 s: those of stretches (first stamp, seconds)."""
    return [start + n * STEP_S for start, length in stretches for n in range(round(length / STEP_S))]


def placed(
    times: Iterable[float],
    *,
    promised_s: float | None = None,
    is_counted: bool = False,
    is_measured: bool = False,
) -> tuple[list[float], list[Gap]]:
    """(where each packet begins, gaps), in seconds."""
    clock, position, starts = MediaClock(promised_s, is_counted=is_counted, is_measured=is_measured), 0, []
    for packets in [*(clock.place(time, PACKET) for time in times), clock.finish()]:
        for packet in packets:
            position += packet.silence
            starts.append(round(position / SAMPLE_RATE, 6))
            position += len(packet.data) // 2
    return starts, clock.gaps


@pytest.mark.parametrize(
    ("times", "starts", "gaps"),
    [
        (stamps((0, 9)), stamps((0, 9)), []),
        (stamps((0.07, 9)), stamps((0, 9)), []),
        (stamps((4, 9)), stamps((4, 9)), []),
        (stamps((4, 0.1)), stamps((4, 0.1)), []),
        (stamps((0, 5), (9, 5)), stamps((0, 5), (9, 5)), [Gap(5, 4)]),
        (stamps((0, 5), (9, 0.3)), stamps((0, 5), (9, 0.3)), [Gap(5, 4)]),
        (stamps((0, 5), (5.5, 0.5), (7, 0.5), (8, 5)), stamps((0, 5), (5.5, 0.5), (7, 0.5), (8, 5)),
         [Gap(5, 0.5), Gap(6, 1), Gap(7.5, 0.5)]),
        (stamps((0, 20), (0, 10)), stamps((0, 30)), []),
        (stamps((0, 20), (0, 10), (13, 5)), stamps((0, 30), (33, 5)), [Gap(30, 3)]),
        (stamps((0, 5), (7200, 5)), stamps((0, 10)), []),
        (stamps((0, 5), (7200, 5), (7208, 5)), stamps((0, 10), (13, 5)), [Gap(10, 3)]),
    ],
    ids=["whole", "a moment late", "late", "late and short", "gap", "gap near the end", "gaps in a row", "joined",
         "joined with a gap", "another clock", "another clock with a gap"],
)  # fmt: skip
def test_sound_lies_where_its_stamps_say(times: list[float], starts: list[float], gaps: list[Gap]) -> None:
    """And nothing is dropped where they say what cannot be."""
    found, found_gaps = placed(times)
    assert found == pytest.approx(starts, abs=0.11)
    assert len(found_gaps) == len(gaps)
    for gap, wanted in zip(found_gaps, gaps, strict=True):
        assert (gap.start_s, gap.length_s) == pytest.approx((wanted.start_s, wanted.length_s), abs=0.11)


@pytest.mark.parametrize("wrong_s", [700.0, 8.0])
@pytest.mark.parametrize("as_ffmpeg_writes_it", [False, True])
def test_one_damaged_stamp_is_no_gap(wrong_s: float, as_ffmpeg_writes_it: bool) -> None:
    """ffmpeg itself makes stamps after it as large, until they reach it; a true gap after that is found again."""
    times = stamps((0, 5), (wrong_s, 0.1), (5.1, 10), (18.1, 5))
    if as_ffmpeg_writes_it:
        times = list(np.maximum.accumulate(times))
    starts, gaps = placed(times)
    assert starts[:150] == pytest.approx(stamps((0, 15)), abs=0.11)
    if wrong_s < 100 or not as_ffmpeg_writes_it:
        assert [round(gap.length_s) for gap in gaps] == [3]


@pytest.mark.parametrize("wrong_s", [500.0, 2e6])
def test_a_damaged_stamp_after_a_gap_is_no_gap(wrong_s: float) -> None:
    """While the gap is not yet confirmed: each jump has to be."""
    times = stamps((0, 5), (7, 0.5), (wrong_s, 0.1), (7.6, 10))
    starts, gaps = placed(times)
    assert starts == pytest.approx(stamps((0, 5), (7, 10.6)), abs=0.11)
    assert [round(gap.length_s) for gap in gaps] == [2]


def test_thousands_of_tiny_packets_that_all_jump_are_placed() -> None:
    """One by one, without a stack that grows with them."""
    clock, count = MediaClock(None), 0
    for n in range(5000):
        count += sum(len(packet.data) // 2 for packet in clock.place(n * 0.2, bytes(2)))
    count += sum(len(packet.data) // 2 for packet in clock.place(5000 * 0.2, bytes(200_000)))
    assert count + sum(len(packet.data) // 2 for packet in clock.finish()) == 105_000


def test_a_damaged_last_stamp_is_no_gap() -> None:
    """Nothing comes after it that could confirm it; where a header has the whole duration, that does."""
    times = [*stamps((0, 5)), 700.0]
    assert placed(times)[1] == []
    assert placed(times, promised_s=700.1, is_measured=True)[1] == []
    assert [round(gap.length_s) for gap in placed(times, promised_s=700.1)[1]] == [695]


def test_jitter_and_drift_stay_below_a_tenth_of_a_second() -> None:
    """Stamps that are rounded, and a clock that runs faster than the sound: its lag is made good now and then."""
    times = stamps((0, 600))
    shaken = [time + (n % 3 - 1) * 0.04 for n, time in enumerate(times)]
    assert placed(shaken)[0] == pytest.approx(times)
    fast = [time * 1.001 for time in times]
    starts, gaps = placed(fast)
    assert starts == pytest.approx(fast, abs=0.11)
    assert max(gap.length_s for gap in gaps) < 0.11


def test_the_pace_of_counted_stamps_says_nothing() -> None:
    """Only that they jump: ffmpeg counts the packets of a raw stream at the pace of the first."""
    times = [time * 1.9 for time in stamps((0, 20))]
    jumping = [*times, *(time + times[-1] + 3.1 for time in stamps((0, 20)))]
    starts, gaps = placed(jumping, is_counted=True)
    assert starts[:200] == pytest.approx(stamps((0, 20)))
    assert [round(gap.length_s) for gap in gaps] == [3]


def test_a_gap_ends_before_the_recording_does() -> None:
    """Where its container has its length."""
    times = stamps((0, 5), (300, 5))
    assert placed(times, promised_s=305)[1] == [Gap(5, pytest.approx(295))]
    assert placed(times, promised_s=20) == (pytest.approx(stamps((0, 10))), [])


def test_a_gap_of_hours_is_a_gap_where_a_header_has_the_whole_duration() -> None:
    """Where the duration is only the distance of two stamps, another recording may begin there."""
    times = stamps((0, 5), (9000, 5))
    assert placed(times, promised_s=9005)[1] == [Gap(5, pytest.approx(8995))]
    assert placed(times, promised_s=9005, is_measured=True) == (pytest.approx(stamps((0, 10))), [])


@given(st.lists(st.tuples(st.floats(-1e6, 1e6), st.integers(1, 40)), max_size=30))
def test_no_sample_is_lost_or_moved_before_another(stretches: list[tuple[float, int]]) -> None:
    """Whatever the stamps are."""
    times = [start + n * STEP_S for start, count in stretches for n in range(count)]
    starts, _ = placed(times)
    assert len(starts) == len(times)
    assert all(later - earlier > STEP_S - 1e-3 for earlier, later in pairwise(starts))


def stream(packets: list[tuple[int, bytes]], *, ended: bool = True) -> bytes:
    """As ffmpeg writes SMJPEG: a header with a comment and the sound's form, packets, a mark."""
    header = b"\0\nSMJPEG" + struct.pack(">II", 0, 0) + b"_TXT" + struct.pack(">I", 4) + b"abcd"
    header += b"_SND" + struct.pack(">I", 8) + struct.pack(">HBB", SAMPLE_RATE, 16, 1) + b"NONE" + b"HEND"
    body = b"".join(b"sndD" + struct.pack(">iI", time, len(data)) + data for time, data in packets)
    return header + body + (b"DONE" if ended else b"")


@pytest.mark.parametrize("size", [1, 7, 64, 10_000])
def test_packets_are_read_from_pieces_of_any_size(size: int) -> None:
    """And whether the last one was there is known."""
    packets = [(-20, b"ab"), (0, b"sndDDONE"), (64, b""), (100, b"x" * 5000)]
    for ended in (True, False):
        reader, data = PacketReader(), stream(packets, ended=ended)
        found = [one for at in range(0, len(data), size) for one in reader.feed(data[at : at + size])]
        assert found == [(time % 2**32, content) for time, content in packets]
        assert reader.ended is ended


@pytest.mark.parametrize("data", [b"RIFF....", stream([])[:-4] + b"vidD" + bytes(100)])
def test_what_is_no_stream_of_packets_is_said(data: bytes) -> None:
    """It does not become samples."""
    with pytest.raises(ValueError, match="packet"):
        list(PacketReader().feed(data))


@pytest.mark.parametrize(
    ("about", "track"),
    [
        ("aac (LC) (mp4a / 0x6134706D), 16000 Hz, mono, fltp, 69 kb/s (default)", Track(1, "mono")),
        ("mp3, 44100 Hz, stereo, fltp, 128 kb/s", Track(2, "stereo")),
        ("ac3, 48000 Hz, 5.1(side), fltp, 448 kb/s", Track(6, "5.1(side)")),
        ("flac, 48000 Hz, 7.1, s32 (24 bit)", Track(8, "7.1")),
        ("pcm_s16le, 16000 Hz, 9 channels, s16, 2304 kb/s", Track(9, None)),
        ("pcm_s16le, 16000 Hz, 2 channels (FC+LFE), s16, 512 kb/s", Track(2, None)),
        ("pcm_s16le, 16000 Hz, hexadecagonal, s16", Track(16, "hexadecagonal")),
        ("pcm_s16le, 16000 Hz, 22.2, s16", Track(24, "22.2")),
        ("opus, 48000 Hz, ambisonic 1, fltp", Track(4, None, is_ambisonic=True)),
        ("opus, 48000 Hz, ambisonic 3+stereo, fltp", Track(18, None, is_ambisonic=True)),
        ("pcm_s16le, 48000 Hz, surround of tomorrow, s16", Track(None, None)),
        ("none (apac / 0x63617061), 16000 Hz, mono, 51 kb/s (default)", Track(1, "mono")),
        ("none", Track(None, None)),
    ],
)
def test_channels_are_read_from_the_log(about: str, track: Track) -> None:
    """Their number, and a name that ffmpeg's filters know."""
    log = f"[info] Input #0, wav, from 'x':\n[info]   Stream #0:0[0x1](und): Audio: {about}\n"
    assert read_report(log).audio == (track,)


@pytest.mark.parametrize("channels", [*range(2, 9), 16, 64])
def test_no_channel_cancels_another_in_both_signals(channels: int) -> None:
    """The weights of the difference are all different."""
    graph = list(mixes(Track(channels, None)))[-1]
    assert graph is not None
    terms = graph.split("c1=")[1].split(",")[0].replace("-", "+-").strip("+").split("+")
    weights = [float(term.split("*")[0]) for term in terms]
    assert len(set(weights)) == len(weights) == channels
    assert sum(map(abs, weights)) == pytest.approx(1, abs=1e-4)


def test_one_channel_and_too_many() -> None:
    """The first needs no graph, and for the others there is none."""
    assert list(mixes(Track(1, "mono"))) == [None]
    assert list(mixes(Track(None, None))) == [None, "[in]pan=mono|c0=c0,aformat=" + FORM + "mono[out]"]
    assert list(mixes(Track(65, None))) == []


def mixed(sums: npt.NDArray[np.int16], differences: npt.NDArray[np.int16], piece: int) -> npt.NDArray[np.int16]:
    """What comes of two signals that arrive in pieces."""
    mixdown, data = Mixdown(2), np.stack([sums, differences], axis=1).tobytes()
    found = b"".join(mixdown.feed(data[at : at + piece]) for at in range(0, len(data), piece))
    return np.frombuffer(found + mixdown.flush(), dtype="<i2")


@pytest.mark.parametrize("piece", [4, 4000, 10**7])
def test_the_difference_is_taken_where_the_sum_is_silent(piece: int) -> None:
    """A voice in the second of three stretches that is in the difference alone; noise is no voice."""
    random = np.random.default_rng(0)
    voice = random.normal(0, 3000, 3 * SAMPLE_RATE)
    hiss = random.normal(0, 20, (2, len(voice)))
    middle = np.zeros(len(voice))
    middle[SAMPLE_RATE : 2 * SAMPLE_RATE] = 1
    sums = (voice * (1 - middle) + hiss[0]).astype(np.int16)
    differences = (voice * middle + hiss[1]).astype(np.int16)
    wanted = np.where(middle == 1, differences, sums)
    np.testing.assert_array_equal(mixed(sums, differences, piece), wanted)
    quiet = hiss[1].astype(np.int16)
    np.testing.assert_array_equal(mixed(quiet * 0, quiet, piece), quiet * 0)
