"""Settings of jobs: where their files lie, how many and how large they may be, when one is given up."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator
from pydantic_settings import BaseSettings

from btworker.config.parsing import FROM_ENVIRONMENT, MIB, env, state_folder
from btworker.renditions import bytes_per_second

PCM_BYTES_PER_S = 32_000
"""Decoded audio: 16,000 samples of 2 bytes a second, 115 MB an hour."""


class WorkSettings(BaseSettings):
    """The jobs' part of Settings."""

    model_config = FROM_ENVIRONMENT

    data_dir: Path = Field(default_factory=state_folder, validation_alias=env("WORKER_DATA_DIR"))
    """Database, uploads and results. A local file system: SQLite's WAL does not work on network ones."""
    tmp_dir: Path | None = Field(None, validation_alias=env("WORKER_TMP_DIR"))
    """Scratch files (decoded audio: 115 MB an hour); for this worker alone. Default: inside the data folder."""
    max_concurrent_jobs: Annotated[int | Literal["auto"], Field(validation_alias=env("WORKER_MAX_CONCURRENT_JOBS"))] = 1
    """Jobs at work at once over all GPUs (slots), 1 to 64; `auto` = one per process. They are spread over the
    processes; those of one process share its model, so that a job more costs little memory. On a CPU, twice as many as
    there are cores keep all of them busy with short recordings; one alone has each of its windows soonest."""
    short_s: float = Field(60.0, ge=0, le=3600, validation_alias=env("WORKER_SHORT_SECONDS"))
    """Seconds of audio up to which a job is a clip: clips start before longer recordings, whoever sent these. A file's
    length is estimated by its size and by earlier files. 0 = none is."""
    short_slots: Annotated[int | Literal["auto"], Field(validation_alias=env("WORKER_SHORT_SLOTS"))] = "auto"
    """Clips that each process takes beside its slots, up to 16, so that none waits for the end of a long recording.
    They share the batches of the others; each takes a thread and its sound's room. `auto` = 1, and only while jobs of
    several keys wait or are at work: nobody's recordings then hold up another's clip."""
    processes_per_gpu: int = Field(1, ge=1, le=16, validation_alias=env("WORKER_PROCESSES_PER_GPU"))
    """Processes on each GPU, as far as there are slots for them; the CPU counts as one GPU. Each holds a model in
    memory, and when one dies, only its own jobs have to start again."""
    max_file_mb: int = Field(2000, ge=1, le=2**23, validation_alias=env("WORKER_MAX_FILE_MB"))
    """Largest single input in MB."""
    max_files_per_job: int = Field(100, ge=1, le=10_000, validation_alias=env("WORKER_MAX_FILES_PER_JOB"))
    """File parts in one upload; bounds the work behind one id."""
    max_audio_hours: float = Field(12.0, gt=0, le=1000, validation_alias=env("WORKER_MAX_AUDIO_HOURS"))
    """Hours of decoded audio per input, counted while decoding: a small file can hold a week of silence. Each channel
    counts that is transcribed by itself; of ranges, only what is in them."""
    max_keywords: int = Field(1000, ge=0, le=10_000, validation_alias=env("WORKER_MAX_KEYWORDS"))
    """Keywords of one job; they are kept with the job and shown in each of its answers. 0 = none are taken."""
    max_keyword_chars: int = Field(64, ge=1, le=1000, validation_alias=env("WORKER_MAX_KEYWORD_CHARS"))
    """Characters of one of them: what is longer is no name or term, and belongs into the prompt."""
    max_attempts: int = Field(2, ge=1, le=10, validation_alias=env("WORKER_MAX_ATTEMPTS"))
    """Processes that die with a job alone in them before it is failed with WORKER_CRASHED; a poison job must end."""
    queue_limit: int = Field(1000, ge=1, le=100_000, validation_alias=env("WORKER_QUEUE_LIMIT"))
    """Jobs waiting at once, those whose inputs are being fetched as well; more get 429 QUEUE_FULL with Retry-After. No
    key takes all places (docs/keys.md)."""
    drain_s: float = Field(30.0, ge=0, le=86_400, validation_alias=env("WORKER_DRAIN_SECONDS"))
    """Seconds that running jobs get after SIGTERM; what is not done then goes back to the queue."""
    disk_reserve_mb: int = Field(1024, ge=0, validation_alias=env("WORKER_DISK_RESERVE_MB"))
    """MB that stay free on the data disk; uploads that would go below are refused with DISK_FULL."""
    decoded_factor: float = Field(8.0, ge=0, le=1000, validation_alias=env("WORKER_DECODED_FACTOR"))
    """Bytes of decoded audio to expect for each byte of an upload, when its room is looked for: 8 is a recording at
    32 kbit/s, and WORKER_MAX_AUDIO_HOURS are the most; twice as many where channels are transcribed by themselves, of
    which most recordings have two. An upload that could then not be decoded is refused."""
    retention_hours: float = Field(72.0, gt=0, validation_alias=env("WORKER_RETENTION_HOURS"))
    """Hours that a finished job's results are kept."""
    corrections_limit: int = Field(20_000, ge=1, le=1_000_000, validation_alias=env("WORKER_CORRECTIONS_LIMIT"))
    """Edits of one job's transcripts that are kept, those that were undone as well: four for each segment of eight
    hours. They bound what a job takes in the table."""
    search_text: bool = Field(True, validation_alias=env("WORKER_SEARCH_TEXT"))
    """False: jobs are found by the names of their inputs and by corrections alone. Text takes its room in the table
    twice (1 MB for eight hours), and goes with its job."""
    keep_inputs: bool = Field(False, validation_alias=env("WORKER_KEEP_INPUTS"))
    """False: inputs are deleted when their job ends, since nobody reads them again."""
    load_timeout_s: float = Field(3600.0, gt=0, le=86_400, validation_alias=env("WORKER_LOAD_TIMEOUT_SECONDS"))
    """Seconds that a child gets to load a model before it counts as hung; 3 GB at 1 MB/s take 50 minutes."""
    decode_stall_s: float = Field(120.0, gt=0, le=86_400, validation_alias=env("WORKER_DECODE_STALL_SECONDS"))
    """Seconds without a sample from ffmpeg after which a job fails with TIMEOUT."""
    ffmpeg_processes: int = Field(0, ge=0, le=64, validation_alias=env("WORKER_FFMPEG_PROCESSES"))
    """Recordings that a child has ffmpeg decode at once, ahead of the model; 0 = one for four of its share of the
    machine's cores, since the others have more to do. Each may take a core, and so may as many that were decoded, of
    which it makes what players get."""
    spread_minutes: float = Field(30.0, ge=0, le=60_000, validation_alias=env("WORKER_SPREAD_MINUTES"))
    """Minutes of audio from which on processes without a job, those of other boxes of a fleet too, help with a file in
    fast mode: below, one GPU is done before it is worth it. They leave at once for a job of their own. 0 = never."""
    window_timeout_s: float = Field(0.0, ge=0, le=86_400, validation_alias=env("WORKER_WINDOW_TIMEOUT_SECONDS"))
    """Seconds that 30 s of audio may take before the child counts as hung; 0 = 600 on a GPU, 3600 on the CPU."""
    recycle_jobs: int = Field(1000, ge=0, validation_alias=env("WORKER_RECYCLE_JOBS"))
    """Jobs after which a child gives way to a fresh one; only a new process gives all memory back. 0 = never."""
    recycle_growth_mb: int = Field(4096, ge=0, validation_alias=env("WORKER_RECYCLE_GROWTH_MB"))
    """MB that a child may grow after its start before the same happens. 0 = never."""
    quarantine_minutes: float = Field(30.0, ge=0.01, le=10_080, validation_alias=env("WORKER_QUARANTINE_MINUTES"))
    """Minutes that a GPU is left alone after it failed three different jobs in a row."""
    idle_unload_minutes: float = Field(0.0, ge=0, le=10_080, validation_alias=env("WORKER_IDLE_UNLOAD_MINUTES"))
    """Minutes without a job after which a child ends, so that all its GPU memory is free for others. The next job
    starts it again and waits for the model. 0 = never."""

    rendition_kbit_s: Annotated[int, Field(validation_alias=env("WORKER_RENDITION_KBIT"))] = 32
    """Rate in kbit/s, 16 to 64, at which the sound of each input is kept for players as long as the results, mono, with
    peaks to draw: 15.5 MB an hour. At 32, speech of 16 kHz loses nothing that anybody notices. 0 = none is kept."""

    @field_validator("rendition_kbit_s")
    @classmethod
    def _playable(cls, rate: int) -> int:
        if rate and not 16 <= rate <= 64:
            raise ValueError("must be 0, or a whole number from 16 to 64")
        return rate

    @field_validator("max_concurrent_jobs", "short_slots", mode="before")
    @classmethod
    def _whole_or_auto(cls, raw: object, info: ValidationInfo) -> object:
        text, (least, most) = str(raw).strip().lower(), (0, 16) if info.field_name == "short_slots" else (1, 64)
        if text == "auto":
            return "auto"
        if not text.isdecimal() or not least <= int(text) <= most:
            raise ValueError(f"must be a whole number from {least} to {most}, or auto")
        return int(text)

    @property
    def scratch_dir(self) -> Path:
        """Where decoded audio goes."""
        return self.tmp_dir or self.data_dir / "scratch"

    @property
    def max_file_bytes(self) -> int:
        """WORKER_MAX_FILE_MB in bytes."""
        return self.max_file_mb * MIB

    @property
    def disk_reserve_bytes(self) -> int:
        """WORKER_DISK_RESERVE_MB in bytes."""
        return self.disk_reserve_mb * MIB

    @property
    def clip_bytes(self) -> int:
        """Bytes of the decoded audio of the longest clip."""
        return int(self.short_s * PCM_BYTES_PER_S)

    @property
    def clip_slots(self) -> int:
        """Places for clips beside the slots of each process."""
        return 1 if self.short_slots == "auto" else self.short_slots

    def is_clip(self, audio_s: float) -> bool:
        """Whether a job of so many seconds of audio is a clip."""
        return audio_s <= self.short_s

    def decoded_bytes(self, size_bytes: int) -> int:
        """Room that the sound of an input of this size is expected to take while its job runs. An estimate: how long
        a recording is, is known only once it is decoded."""
        return int(min(size_bytes * self.decoded_factor, self.max_audio_hours * 3600 * PCM_BYTES_PER_S))

    def rendition_bytes(self, size_bytes: int) -> int:
        """Room that what players get of an input of this size is expected to take, for as long as its results."""
        return self.decoded_bytes(size_bytes) * bytes_per_second(self.rendition_kbit_s) // PCM_BYTES_PER_S
