"""Empty modules for the speech stack: the doctor imports them in no time, where a test is about something else."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def light_stack(folder: Path, **sources: str) -> str:
    """A PYTHONPATH with an empty module for each package of the stack, or one with this source."""
    for name in ("torch", "torchaudio", "whisper", "pyannote.audio"):
        path = folder / "stack" / f"{name.replace('.', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(sources.get(name, ""))
    return f"{folder / 'stack'}:{ROOT}"
