"""A Whisper model by name: the operator's own checkpoint, the cache, or a download. Runs in the child.

Every checkpoint is hashed when it is loaded: the transcript names the very weights that it came from. An official one
is checked against the hash in its address, so that half a download is never loaded.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import whisper
from whisper.model import ModelDimensions

from btworker.checkpoints import (
    FetchError,
    Hashes,
    Hub,
    HubModel,
    NotWhisperError,
    Progress,
    fetch,
    fetched_hashes,
    file_hashes,
    forbids_commerce,
    look_into,
    official,
    sha256_of_all,
)
from btworker.engine.asr.alignment_heads import AlignmentHeads, HeadsError, find_heads
from btworker.engine.asr.checkpoint_file import CheckpointError
from btworker.engine.asr.decoding.decoder import Decoder
from btworker.engine.asr.decoding.graphs import Recording
from btworker.engine.asr.decoding.kernels.choosing import set_kernels
from btworker.engine.asr.decoding.kernels.products import IN_BFLOAT16, Products, is_right, soonest
from btworker.engine.asr.decoding.network import MisfitError, Network
from btworker.engine.asr.decoding.rules import Vocabulary
from btworker.engine.asr.formats.checkpoint import Checkpoint
from btworker.engine.asr.formats.reading import read_any
from btworker.engine.asr.formats.tokens import Tokens
from btworker.engine.asr.loading import EmitLoading, LoadingReport
from btworker.engine.asr.mel import LogMel
from btworker.engine.stack.cores import Cores
from btworker.engine.stack.faults import translate
from btworker.engine.vad.detector import SpeechDetector
from btworker.errors import BtworkerError, ErrorCode
from btworker.logs import get_logger
from btworker.processor import bfloat16_problem
from btworker.specs import EngineSettings

log = get_logger()
MOST_WINDOWS = {"cuda": 128, "cpu": 16}
"""Windows in the decoder at once. Reading the sound of a window costs the same at every batch; beyond these it is
nearly all that a step does: of large-v3 31 GB, beside 1.6 GB of weights."""
GPU_SHARE = 0.5
"""Of the memory that is free once the model is there; the rest is for what the passes need, and for speakers."""
CPU_BYTES = 2 << 30
"""For all windows together on a CPU, where more would take it from the machine's other work."""


@dataclass(frozen=True, slots=True)
class Model:
    """A loaded model, on its device."""

    name: str
    sha256: str
    network: Network
    decoder: Decoder
    detector: SpeechDetector
    alignment_heads: AlignmentHeads
    tokens: Tokens

    @property
    def device(self) -> torch.device:
        """Where it is."""
        return self.network.device

    @property
    def dtype(self) -> torch.dtype:
        """What it computes in: half precision on a GPU."""
        return self.network.dtype

    def log_mel(self, samples: npt.NDArray[np.int16], *, peak: float | None = None) -> LogMel:
        """Make the spectrogram of a recording as this model takes it."""
        return LogMel(samples, n_mels=self.network.dims.n_mels, peak=peak, device=self.device)


def load_model(
    name: str,
    settings: EngineSettings,
    device: torch.device,
    emit: EmitLoading = lambda _loading: None,
    hashes: Hashes | None = None,
) -> Model:
    """Load the model of this name. Raises BtworkerError MODEL_UNAVAILABLE with what to do."""
    hashes = hashes or Hashes()
    report = LoadingReport(name, emit)
    models = dict(settings.models)
    if name not in models:
        raise _unavailable(
            f"this worker does not serve a model named {name!r}; it serves {', '.join(models) or 'none'}"
        )
    own = models[name]
    path, sha256 = _own(name, own, settings, hashes, report) if own else _official(name, settings, hashes, report)
    report.step("loading")
    dtype = torch.float16 if device.type == "cuda" else torch.float32
    checkpoint, network = _read_checkpoint(name, path, device, dtype, rounded=settings.cpu_half)
    heads = _find_heads(name, checkpoint, path, settings, sha256=sha256, dims=network.dims)
    network.align_by(heads.pairs)
    set_kernels(network, wanted=settings.triton)
    network.sound_bits = settings.sound_bits
    tokens = checkpoint.tokens
    tokenizer = tokens.tokenizer()
    batch_size = settings.batch_size or _fitting_batch_size(network)
    if path.is_dir() and (licence := forbids_commerce(path)):
        log.warning("model_forbids_commercial_use", model=name, licence=licence)
    vocabulary = Vocabulary.of(tokenizer, suppressed=tokens.suppressed, blank=tokens.blank, unnamed=tokens.unnamed)
    recording = Recording.on(device, wanted=settings.cuda_graphs)
    cores = Cores(settings.threads) if device.type == "cpu" else None
    decoder = Decoder(
        network, tokenizer, batch_size=batch_size, vocabulary=vocabulary, recording=recording, cores=cores
    )
    if device.type == "cuda":  # on a CPU, memory of places that nobody uses stays untouched
        decoder.prepare()
    log.info(
        "model_loaded",
        model=name,
        dtype=str(network.precision).removeprefix("torch."),
        batchSize=decoder.batch_size,
        alignmentHeads=heads.to_dict(),
        cudaGraphs=recording.is_on,
        stepKernels=network.kernels.name,
        soundBits=network.sound_bits,
    )
    return Model(name, sha256, network, decoder, SpeechDetector(device), heads, tokens)


def _own(name: str, path: Path, settings: EngineSettings, hashes: Hashes, report: LoadingReport) -> tuple[Path, str]:
    """Find the operator's checkpoint, or that of a repository, and its hash."""
    source = dict(settings.hub_models).get(name)
    if source is not None and not path.is_dir():  # it was not there when the worker started
        path = _from_hub(name, source, settings, report)
    if not path.exists():
        raise _unavailable(f"the checkpoint of model {name!r} ({path.name}) is missing; see WORKER_MODELS")
    return path, _hash(name, path, hashes, report)


def _from_hub(name: str, source: HubModel, settings: EngineSettings, report: LoadingReport) -> Path:
    """Find the folder of a model of the hub's, downloaded first where it is missing."""
    folder = source.folder(settings.model_cache)
    if folder.is_dir():
        return folder
    if settings.offline:
        raise _unavailable(
            f"model {name!r} ({source}) is not in the cache and WORKER_OFFLINE forbids to download it; "
            f"fetch it where there is a network (btworker models fetch {name}), and carry the cache here"
        )
    hub = Hub(settings.hub_url, settings.hf_token)
    return _download(name, partial(hub.fetch, source, settings.model_cache), report)


def _download(name: str, fetch: Callable[[Progress], Path], report: LoadingReport) -> Path:
    """Bring a model's files into the cache."""
    began_at = time.monotonic()
    log.info("model_download_started", model=name)
    try:
        path = fetch(report.step("downloading"))
    except (FetchError, OSError) as error:
        raise _unavailable(
            f"model {name!r} is not in the cache and could not be downloaded ({error}); "
            "let the worker reach the network, or put the files into the cache (btworker models fetch)"
        ) from error
    files = [path] if path.is_file() else path.iterdir()
    size_mb = round(sum(file.stat().st_size for file in files) / 2**20, 1)
    log.info("model_download_finished", model=name, sizeMB=size_mb, seconds=round(time.monotonic() - began_at, 1))
    return path


def _hash(name: str, path: Path, known: Hashes, report: LoadingReport) -> str:
    """Hash the checkpoint: a file, or all the files of a folder that count."""
    try:
        progress = report.step("checking")
        if path.is_file():
            return known.take(path, progress)
        hashes = file_hashes(look_into(path), progress)
    except NotWhisperError as error:
        raise _unavailable(f"{path.name} {error}; model {name!r} cannot be loaded") from error
    except OSError as error:
        raise _unavailable(f"{path.name} cannot be read ({error.strerror}); model {name!r} cannot be loaded") from error
    wrong = [file for file, sha256 in fetched_hashes(path).items() if hashes.get(file, sha256) != sha256]
    if wrong:
        raise _unavailable(
            f"{wrong[0]} of model {name!r} is not the file that was fetched; `btworker models fetch {name}`"
        )
    return sha256_of_all(hashes)


def _read_checkpoint(
    name: str, path: Path, device: torch.device, dtype: torch.dtype, *, rounded: bool
) -> tuple[Checkpoint, Network]:
    misfit = f"the checkpoint of model {name!r} does not fit its own dimensions or is damaged"
    try:
        checkpoint = read_any(path)
        products = _products(name, checkpoint.dims.n_text_state, device, dtype, rounded=rounded)
        return checkpoint, Network(checkpoint.state, checkpoint.dims, device=device, dtype=dtype, products=products)
    except MisfitError as error:
        raise _unavailable(misfit) from error
    except CheckpointError as error:
        raise _unavailable(f"{path.name} {error}; model {name!r} cannot be loaded") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _unavailable(f"{path.name} is no Whisper checkpoint, so model {name!r} cannot be loaded") from error
    except RuntimeError as error:
        if translate(error) is not None:  # the GPU's fault, or memory's
            raise
        raise _unavailable(misfit) from error


def _products(name: str, size: int, device: torch.device, dtype: torch.dtype, *, rounded: bool) -> Products:
    """Choose how to multiply. Raises BtworkerError MODEL_UNAVAILABLE where this machine cannot do it as it is asked."""
    if device.type != "cpu" or not rounded:
        return soonest(size, device, dtype)
    reason = bfloat16_problem()
    if reason is None and not is_right(IN_BFLOAT16, size):
        reason = "this build of torch does not multiply in bfloat16 rightly"
    if reason is not None:
        raise _unavailable(f"WORKER_CPU_PRECISION=half: {reason}, so model {name!r} is not loaded; use single")
    return IN_BFLOAT16


def _find_heads(
    name: str, checkpoint: Checkpoint, path: Path, settings: EngineSettings, *, sha256: str, dims: ModelDimensions
) -> AlignmentHeads:
    """Find the heads that word times come from. Raises BtworkerError MODEL_UNAVAILABLE where the setting is wrong."""
    wanted = dict(settings.alignment_heads).get(name, "")
    try:
        heads = find_heads(checkpoint, path, dims, sha256=sha256, setting=wanted, model_cache=settings.model_cache)
    except HeadsError as error:
        raise _unavailable(f"WORKER_ALIGNMENT_HEADS does not fit model {name!r}: {error}") from error
    if heads.source == "all":
        message = "it is not known which heads follow the sound, so all are used; WORKER_ALIGNMENT_HEADS can name them"
        log.info("alignment_heads_unknown", model=name, message=message)
    return heads


def _official(name: str, settings: EngineSettings, hashes: Hashes, report: LoadingReport) -> tuple[Path, str]:
    """Find the cached file of an official model and its hash, downloaded first where it is missing or broken."""
    known = official(name)
    if known is None:
        release = whisper.__version__
        raise _unavailable(f"openai-whisper {release} does not know a model named {name!r}; newer releases may")
    path = settings.model_cache / known.filename
    if path.is_file() and hashes.take(path, report.step("checking")) == known.sha256:
        return path, known.sha256
    if settings.offline:
        raise _unavailable(
            f"model {name!r} is not in the cache ({path.name}) and WORKER_OFFLINE forbids to download it; "
            "put the file there, or serve it with WORKER_MODELS=name=/path"
        )
    return _download(name, partial(fetch, known, settings.model_cache), report), known.sha256


def _unavailable(message: str) -> BtworkerError:
    return BtworkerError(ErrorCode.MODEL_UNAVAILABLE, message)


def _place_bytes(network: Network) -> int:
    """Compute the bytes of a window's place: keys and values of sound and own past, and a few times its logits."""
    dims = network.dims
    itemsize = torch.empty((), dtype=network.dtype).element_size()
    of_sound = 1 if network.sound_bits == 8 else itemsize
    position = dims.n_audio_ctx * of_sound + dims.n_text_ctx * itemsize
    return int(2 * dims.n_text_layer * position * dims.n_text_state + 8 * dims.n_vocab * 4)


def _fitting_batch_size(network: Network) -> int:
    """Choose the windows to decode at once: as many as there is memory for, and no more than are of use."""
    kind = network.device.type
    room = CPU_BYTES
    if kind == "cuda":
        free, _ = torch.cuda.mem_get_info(network.device)
        room = int(free * GPU_SHARE)
    return max(1, min(MOST_WINDOWS[kind], room // _place_bytes(network)))
