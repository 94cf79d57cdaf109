"""What half precision would do to a segmentation: who speaks when, against float32, in diarization error rate.

    python -W ignore bench/diarization_half.py FOLDER [RECORDING …] [--seconds 90]

FOLDER has a pipeline (`make speakers-folder`), whose segmentation is pyannote's PyanNet. Its weights, what goes into
and comes out of each layer, and both states of the LSTM after each step are rounded; sums stay float32. That is what
torch has cuDNN do in float16; in bfloat16 torch does not use cuDNN's LSTM at all.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from pyannote.core import Segment, Timeline
from pyannote.metrics.diarization import DiarizationErrorRate
from support import ROOT, report
from torch import Tensor, nn

from btworker.engine.diarization.diarizer import Diarization, Diarizer
from btworker.specs import EngineSettings
from demo_diarization.measure import annotation, diarize, pcm
from demo_model.audio import SAMPLE_RATE, read_audio

TYPES = (torch.float16, torch.bfloat16)


class RoundedLstm(nn.Module):
    """An LSTM in steps; `lstm` is of several layers, both ways, batch first."""

    def __init__(self, lstm: nn.LSTM, dtype: torch.dtype) -> None:
        super().__init__()
        self._lstm = lstm
        self._dtype = dtype

    def forward(self, sound: Tensor) -> tuple[Tensor, None]:
        """(batch, frames, features) to (batch, frames, 2 * hidden)."""
        for layer in range(self._lstm.num_layers):
            there = self._one_way(sound, f"_l{layer}")
            back = self._one_way(sound.flip(1), f"_l{layer}_reverse").flip(1)
            sound = torch.cat([there, back], dim=-1)
        return sound, None

    def _one_way(self, sound: Tensor, suffix: str) -> Tensor:
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        into, over, *biases = (self._rounded(getattr(self._lstm, name + suffix)) for name in names)
        given = self._rounded(sound) @ into.T + sum(biases)
        output = cell = torch.zeros(len(sound), self._lstm.hidden_size)
        outputs = []
        for frame in range(sound.shape[1]):
            taken, kept, new, shown = (given[:, frame] + output @ over.T).chunk(4, dim=1)
            cell = self._rounded(kept.sigmoid() * cell + taken.sigmoid() * new.tanh())
            output = self._rounded(shown.sigmoid() * cell.tanh())
            outputs.append(output)
        return torch.stack(outputs, dim=1)

    def _rounded(self, values: Tensor) -> Tensor:
        return values.to(self._dtype).float()


def round_segmentation(network: Any, dtype: torch.dtype) -> None:
    """Have all layers of a PyanNet round."""
    for part in network.modules():
        if isinstance(part, nn.Linear | nn.Conv1d):
            for parameter in part.parameters():
                parameter.data = parameter.data.to(dtype).float()
            part.register_forward_pre_hook(lambda _, given: (given[0].to(dtype).float(),))
            part.register_forward_hook(lambda _, __, made: made.to(dtype).float())
    network.lstm = RoundedLstm(network.lstm, dtype)


def found_by(folder: Path, dtype: torch.dtype | None, recordings: Sequence[Any]) -> list[Diarization]:
    """Turns of all recordings, with the segmentation in this precision."""
    settings = EngineSettings("demo", (), folder, folder, offline=True, threads=1, diarization_pipeline=folder)
    diarizer = Diarizer(settings, on_gpu=False)
    if dtype is not None:
        round_segmentation(diarizer.pipeline._segmentation.model, dtype)  # noqa: SLF001 - it has no public name
    return [diarize(diarizer, samples) for samples in recordings]


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("recordings", type=Path, nargs="*", default=sorted((ROOT / "tests/data/real").glob("*.opus")))
    parser.add_argument("--seconds", type=float, default=90.0, help="of each recording, at most")
    options = parser.parse_args()
    sounds = [pcm(read_audio(path))[: int(options.seconds * SAMPLE_RATE)] for path in options.recordings]
    with torch.inference_mode():
        wanted = found_by(options.folder, None, sounds)
        by_type = {dtype: found_by(options.folder, dtype, sounds) for dtype in TYPES}
    rows, result = [("minutes", f"{sum(map(len, sounds)) / SAMPLE_RATE / 60:.1f}")], {}
    for dtype, found in by_type.items():
        name, errors = str(dtype).removeprefix("torch."), DiarizationErrorRate(collar=0.0)
        for sound, one, other in zip(sounds, found, wanted, strict=True):
            if other.turns:
                whole = Timeline([Segment(0, len(sound) / SAMPLE_RATE)])
                errors(annotation(other.turns), annotation(one.turns), uem=whole)
        counts = sum(len(one.turns) != len(other.turns) for one, other in zip(found, wanted, strict=True))
        result[f"der_{name}"] = abs(errors)
        rows.append((name, f"{abs(errors):.3%} of the speech; another number of turns in {counts} of {len(sounds)}"))
    report("diarization_half", rows, result, {"recordings": [path.name for path in options.recordings]})


if __name__ == "__main__":
    main()
