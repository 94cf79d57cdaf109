"""What a child gets at its start: its device, its engine and the settings that the engine needs. See messages.py."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # in a child, pydantic would be a quarter of a second for nothing
    from btworker.checkpoints import HubModel
    from btworker.config import Settings


@dataclass(frozen=True, slots=True)
class Device:
    """Where a child computes. `uuid` is NVIDIA's name of the GPU, None on the CPU."""

    kind: str
    """"cuda" or "cpu"."""
    uuid: str | None = None
    name: str | None = None
    index: int | None = None
    """NVML's index (PCI bus order), for labels."""

    @property
    def label(self) -> str:
        """The value of the `gpu` label in metrics: its index, its UUID (MIG), "cpu", or "cuda" where none is there."""
        return self.uuid or self.kind if self.index is None else str(self.index)


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """What the engine needs to know of the service's settings."""

    default_model: str
    models: tuple[tuple[str, Path | None], ...]
    """Names that a job may ask for; a path serves an operator's own checkpoint, None an official one from the cache."""
    model_cache: Path
    scratch: Path
    """Folder for decoded audio."""
    offline: bool = False
    max_audio_s: float = 12 * 3600.0
    decode_stall_s: float = 120.0
    """Seconds without a sample from ffmpeg after which it is given up."""
    ffmpeg_processes: int = 1
    """ffmpegs of the child at once."""
    threads: int = 0
    """CPU threads of the child; 0 = torch's own choice."""
    rendition_kbit_s: int = 0
    """Rate of what players get of a recording; 0: nothing is made."""
    spread_s: float = 0.0
    """Seconds of audio from which on other children may help with a recording; 0 = never."""
    batch_size: int = 0
    """Windows decoded at once; 0 = as many as there is memory for."""
    cuda_graphs: bool = True
    """Steps are recorded as CUDA graphs."""
    triton: bool = True
    """Steps are made of Triton kernels."""
    sound_bits: int = 16
    """Of each number of the sound that steps read: 8 or 16."""
    cpu_half: bool = False
    """The model's products compute in bfloat16 on a CPU."""
    diarization_device: str = "auto"
    diarization_half: bool = True
    """The network of voices computes in half precision on a GPU."""
    diarization_pipeline: Path | None = None
    """The operator's folder with a pyannote pipeline; None stands for the pretrained one."""
    diarization_block_s: float = 3600.0
    """A longer recording is diarized in blocks of this length."""
    diarization_overlap_s: float = 60.0
    reference_min_s: float = 2.0
    """Seconds of the shortest reference of a known speaker."""
    reference_max_s: float = 30.0
    voice_score: float = 0.5
    """Cosine of embeddings from which on a speaker is taken for a known one."""
    voice_margin: float = 0.05
    hub_models: "tuple[tuple[str, HubModel], ...]" = ()
    """Of those, the ones that come from Hugging Face's hub, downloaded when they are first loaded."""
    hub_url: str = ""
    hf_token: str | None = None
    alignment_heads: tuple[tuple[str, str], ...] = ()
    """Model -> the heads that word times come from, as WORKER_ALIGNMENT_HEADS has them."""

    @classmethod
    def of(cls, settings: "Settings", *, threads: int, ffmpeg_processes: int) -> "EngineSettings":
        """Make those of a child from the service's; what depends on the number of children is given."""
        return cls(
            default_model=settings.model,
            models=tuple(settings.model_paths.items()),
            model_cache=settings.model_cache,
            scratch=settings.scratch_dir,
            offline=settings.offline,
            max_audio_s=settings.max_audio_hours * 3600,
            decode_stall_s=settings.decode_stall_s,
            ffmpeg_processes=ffmpeg_processes,
            threads=threads,
            rendition_kbit_s=settings.rendition_kbit_s,
            spread_s=settings.spread_minutes * 60,
            batch_size=settings.batch_size,
            cuda_graphs=settings.cuda_graphs,
            triton=settings.triton,
            sound_bits=settings.sound_bits,
            cpu_half=settings.cpu_precision == "half",
            diarization_device=settings.diarization_device,
            diarization_half=settings.diarization_precision == "half",
            diarization_pipeline=settings.diarization_pipeline,
            diarization_block_s=settings.diarization_block_minutes * 60,
            diarization_overlap_s=settings.diarization_overlap_s,
            reference_min_s=settings.reference_min_s,
            reference_max_s=settings.reference_max_s,
            voice_score=settings.voice_score,
            voice_margin=settings.voice_margin,
            hub_models=settings.hub_models,
            hub_url=settings.hub_url,
            hf_token=settings.huggingface_token,
            alignment_heads=settings.alignment_heads,
        )

    def __repr__(self) -> str:
        return f"EngineSettings(default_model={self.default_model!r}, …)"  # hf_token must never reach a log


@dataclass(frozen=True, slots=True)
class LogSettings:
    """How a child logs: the same as its parent."""

    level: str
    json: bool


@dataclass(frozen=True, slots=True)
class WorkerSpec:
    """Everything a child gets at spawn. `engine` is an import string: "package.module:factory"."""

    index: int
    device: Device
    engine: str
    settings: EngineSettings
    logs: LogSettings
    slots: int = 1
    """Jobs that the child has at once."""
    clip_slots: int = 0
    """Clips that it takes beside those."""
    has_siblings: bool = False
    """Other children of the same kind are on this machine, or may be on other boxes."""
