"""Long transcripts in every format, from the job's end on."""

from pathlib import Path

import pytest

from btworker.engine.job.results import write_outputs
from btworker.job_folder import JobFolder
from btworker.jobs import Input, JobId, Options, OutputFormat
from btworker.outputs import FORMATS, Presentation
from btworker.outputs import ready as ready_renderings
from btworker.outputs.ready import find_ready
from btworker.storage import DataFolder
from btworker.transcript import Segment, Transcript
from btworker.web.jobs.renderings import sha256_of

OPTIONS = Options("tiny", outputs=(OutputFormat.TXT,))
SOURCE = Input("0", "talk.wav", "talk", 1, "0" * 64)


def transcript(segments: int) -> Transcript:
    """Of so many segments, of which one takes about 250 bytes of JSON."""
    found = tuple(Segment(n, n * 100, float(n), n + 1.0, f" This is sentence {n}.") for n in range(segments))
    return Transcript("".join(one.text for one in found), "en", found, float(segments))


def folder_of_a_job(tmp_path: Path) -> JobFolder:
    """A new one."""
    data = DataFolder.open(tmp_path / "data")
    try:
        return data.create(JobId("wk_0123456789ab"))
    finally:
        data.close()


def test_a_long_transcript_is_there_in_every_format(tmp_path: Path) -> None:
    """Each is what a rendering would be, and its name has its hash; the job lists what was asked for alone."""
    folder, long = folder_of_a_job(tmp_path), transcript(6000)
    outputs = write_outputs(folder, OPTIONS, (SOURCE,), [long])
    assert [output.type for output in outputs] == ["txt"]
    for kind in OutputFormat:
        path = find_ready(folder.outputs, 0, kind)
        assert path is not None
        content = FORMATS[kind].data(long, Presentation("talk"))
        assert kind is OutputFormat.DOCX or path.read_bytes() == content
        assert len(sha256_of(path)) == 64
    assert find_ready(folder.outputs, 1, OutputFormat.TXT) is None


def test_of_a_short_transcript_nothing_is_kept(tmp_path: Path) -> None:
    """It is rendered sooner than a file is written."""
    folder = folder_of_a_job(tmp_path)
    write_outputs(folder, OPTIONS, (SOURCE,), [transcript(10)])
    assert sorted(path.name for path in folder.outputs.iterdir()) == [".transcript.0.json", "talk.txt"]


def test_a_disk_without_room_for_them_is_no_failure(tmp_path: Path) -> None:
    """Nothing of them is left."""
    ready_renderings.keep_ready(tmp_path / "gone", 0, {OutputFormat.TXT: b"a"})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", OutputFormat)
def test_one_is_not_taken_for_another(tmp_path: Path, kind: OutputFormat) -> None:
    """Neither for another format nor for another input, whose numbers begin alike."""
    ready_renderings.keep_ready(tmp_path, 11, {kind: b"a"})
    assert [other for other in OutputFormat if find_ready(tmp_path, 11, other)] == [kind]
    assert find_ready(tmp_path, 1, kind) is None
