"""Where one job's files lie, and what they are called. Any process.

    <data>/jobs/<job id>/receiving         there until the job is accepted: before, nobody was promised anything
                         in/<n>            inputs, "<n>.part" while they arrive
                         in/voice.<n>      reference of known speaker n; "voice.<n>.json" where it is a stored voice
                         windows/<n>.jsonl finished windows of input n, so that a second attempt goes on from there
                         windows/<n>.done  there once these are all
                         shares/<n>/       parts of input n that several processes decode (engine/asr/spread/shares.py)
                         out/              results, .transcript.<n>.json, .<n>.<format>.<hash> (outputs/ready.py);
                                           "out.part" until all are durable
                         renditions/       what players get (renditions.py)
                         rendered/         long transcripts in formats that were asked for (web/jobs/renderings.py)
                         diarizing         there while speakers are told apart: who dies there is not sent there again

Names from clients never become paths here: folders are ids, inputs are numbers.
"""

from dataclasses import dataclass
from pathlib import Path

from btworker.jobs import JobId
from btworker.renditions import RenditionFiles
from btworker.stems import numbered


@dataclass(frozen=True, slots=True)
class JobFolder:
    """Where one job's files lie."""

    path: Path

    @property
    def inputs(self) -> Path:
        """Folder of the inputs."""
        return self.path / "in"

    @property
    def windows(self) -> Path:
        """Folder of the finished windows."""
        return self.path / "windows"

    @property
    def outputs(self) -> Path:
        """Folder of the results."""
        return self.path / "out"

    @property
    def unfinished_outputs(self) -> Path:
        """Folder of the results until all of them are durable."""
        return self.path / "out.part"

    @property
    def rendered(self) -> Path:
        """Folder of the long transcripts that were rendered on request: copies."""
        return self.path / "rendered"

    @property
    def renditions(self) -> Path:
        """Folder of what players get."""
        return self.path / "renditions"

    def rendition(self, index: int) -> RenditionFiles:
        """What players get of input number `index`."""
        return RenditionFiles(self.renditions, index)

    def transcript(self, index: int) -> Path:
        """All that was found in input `index`, among the results but not one of them: other formats are made of it."""
        return self.outputs / transcript_name(index)

    @property
    def receiving(self) -> Path:
        """The mark of an upload on its way, gone once its job is accepted."""
        return self.path / "receiving"

    @property
    def diarizing(self) -> Path:
        """The note of an attempt that tells speakers apart right now."""
        return self.path / "diarizing"

    def input(self, index: int) -> Path:
        """The file of input number `index`."""
        return self.inputs / str(index)

    def reference(self, index: int, *, stored: bool = False) -> Path:
        """The voice of known speaker number `index`: a recording, or the copy of a stored voice."""
        return self.inputs / f"voice.{index}{'.json' if stored else ''}"

    def windows_complete_mark(self, index: int) -> Path:
        """Empty file that is there once all windows of input number `index` are."""
        return self.windows / f"{index}.done"

    def shares(self, index: int, take: int = 0) -> Path:
        """What the processes that decode input number `index`, or a take of it, together tell each other."""
        return self.all_shares / numbered(index, take)

    @property
    def all_shares(self) -> Path:
        """Folder of what is decoded by several processes."""
        return self.path / "shares"

    def windows_of(self, index: int, take: int = 0) -> Path:
        """The finished windows of input number `index`, or of a take of it (whose segments are also in the former)."""
        return self.windows / f"{numbered(index, take)}.jsonl"

    def has_results(self) -> bool:
        """Whether the job had come to its results here, whatever its row says."""
        return self.outputs.is_dir()

    def has_whole_input(self) -> bool:
        """Whether at least one input is all there."""
        return self.inputs.is_dir() and any(path.name.isdecimal() for path in self.inputs.iterdir())


def transcript_name(index: int) -> str:
    """No result begins with a dot."""
    return f".transcript.{index}.json"


def scratch_file(scratch: Path, job_id: JobId, index: int) -> Path:
    """Where the decoded sound of input number `index` lies while it is needed."""
    return scratch / f"{job_id}.{index}.s16"


def remove_scratch(scratch: Path, job_id: JobId) -> None:
    """Remove every scratch file of a job, those of dead attempts as well."""
    for path in scratch.glob("*.s16"):  # one pattern for all jobs: each has to be compiled
        if path.name.startswith(f"{job_id}."):
            path.unlink(missing_ok=True)
