"""Make the wheels of a folder smaller, for a machine that they have to travel to: other forms of a network are left
out, and large wheels are packed by LZMA, which Python's zipfile, and so pip, reads.

    python tools/slim_wheels.py FOLDER
"""

import base64
import hashlib
import sys
import zipfile
from pathlib import Path

LEFT_OUT = {"silero_vad": (".onnx", ".safetensors")}
"""Package -> files of it that nothing here reads; it comes with its network in several forms."""
LARGE_BYTES = 1 << 20
"""Of a wheel that is packed anew."""


def slim(path: Path) -> None:
    """Pack one wheel anew, with a RECORD of what is left in it."""
    package = path.name.partition("-")[0]
    part = path.with_suffix(".part")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(part, "w", zipfile.ZIP_LZMA) as new:
        record: list[str] = []
        names = [one for one in old.infolist() if not one.filename.endswith(LEFT_OUT.get(package, ()) or ("\0",))]
        for one in names:
            if one.filename.endswith(".dist-info/RECORD"):
                continue
            data = old.read(one)
            kept = zipfile.ZipInfo(one.filename, one.date_time)
            kept.external_attr, kept.compress_type = one.external_attr, zipfile.ZIP_LZMA
            new.writestr(kept, data)
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            record.append(f"{one.filename},sha256={digest},{len(data)}")
        name = next(one.filename for one in names if one.filename.endswith(".dist-info/RECORD"))
        new.writestr(name, "\n".join([*record, f"{name},,"]) + "\n")
    part.replace(path)


def main() -> None:
    """All large wheels of the folder."""
    for path in sorted(Path(sys.argv[1]).glob("*.whl")):
        if path.stat().st_size > LARGE_BYTES:
            slim(path)


if __name__ == "__main__":
    main()
