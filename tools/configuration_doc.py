"""Write what lists all settings, from their own documentation in btworker/config: docs/configuration.md, and
deploy/systemd/btworker.env.example, which an operator copies and edits.

python tools/configuration_doc.py          # write both
python tools/configuration_doc.py --check  # exit 1 when one is not what would be written
"""

import argparse
import ast
import inspect
import sys
import textwrap
from itertools import pairwise
from pathlib import Path

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from btworker.config import GROUPS, Settings
from btworker.config.speech import MODEL

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "configuration.md"
EXAMPLE = ROOT / "deploy" / "systemd" / "btworker.env.example"
DEFAULTS = {
    "data_dir": "the user's state folder; /var/lib/btworker in the image and the unit",
    "model_cache": "~/.cache/whisper",
    "model": f"`{MODEL}`",
}
HEAD = """\
# Settings

All settings are environment variables. They are read once, at start; all mistakes are reported together, and end the
start with exit code 64. So do a name within two letters of a setting's (WORKER_MODLE) and a model that the installed
openai-whisper does not know; any other name that begins with WORKER_ is a warning. A megabyte is 2^20 bytes. This page
is made from `btworker/config` by `tools/configuration_doc.py`.

| variable | default | meaning |
|---|---|---|
"""

EXAMPLE_HEAD = """\
# Settings of btworker under systemd: copy to /etc/btworker/btworker.env, uncomment what you change, then
# `systemctl restart btworker`. A megabyte is 2^20 bytes. As root, this checks what you wrote:
# /opt/btworker/venv/bin/python -m btworker doctor --env-file /etc/btworker/btworker.env
# Made from btworker/config by tools/configuration_doc.py.
#
# Secrets do not belong here: the unit hands /etc/btworker/token over as a credential, and sets WORKER_TOKEN_FILE and
# WORKER_DATA_DIR itself (docs/install-systemd.md).
"""
EXAMPLE_DEFAULTS = {"data_dir": "/var/lib/btworker", "model_cache": "/var/cache/btworker/whisper"}
COMMENT_WIDTH = 110


def docstrings() -> dict[str, str]:
    """Field name -> the text under it in the body of its group."""
    found = {}
    for group in GROUPS:
        tree = ast.parse(textwrap.dedent(inspect.getsource(group))).body[0]
        assert isinstance(tree, ast.ClassDef)
        for field, text in pairwise(tree.body):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(text, ast.Expr):
                found[field.target.id] = " ".join(str(ast.literal_eval(text.value)).split())
    return found


def default(name: str, field: FieldInfo) -> str:
    """The default as an operator would write it."""
    if name in DEFAULTS:
        return DEFAULTS[name]
    value = field.default
    if value in (None, (), PydanticUndefined):
        return "not set"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def row(name: str, field: FieldInfo, text: str) -> str:
    """One line of the table."""
    names = " or ".join(f"`{choice}`" for choice in field.validation_alias.choices)  # type: ignore[union-attr]
    return f"| {names} | {default(name, field)} | {text.replace('|', chr(92) + '|')} |\n"


def entry(name: str, field: FieldInfo, text: str) -> str:
    """One setting of the example: its meaning, then the variable with its default, commented out."""
    variable = field.validation_alias.choices[0]  # type: ignore[union-attr]
    value = EXAMPLE_DEFAULTS.get(name) or default(name, field).strip("`").replace("not set", "")
    return f"\n{textwrap.indent(textwrap.fill(text, COMMENT_WIDTH), '# ')}\n#{variable}={value}\n"


def example() -> str:
    """The whole environment file."""
    texts = docstrings()
    return EXAMPLE_HEAD + "".join(entry(name, field, texts[name]) for name, field in Settings.model_fields.items())


def document() -> str:
    """The whole page. Raises KeyError for a setting without documentation."""
    texts = docstrings()
    return HEAD + "".join(row(name, field, texts[name]) for name, field in Settings.model_fields.items())


def main() -> int:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true")
    made = {PAGE: document(), EXAMPLE: example()}
    if parser.parse_args().check:
        return int(any(not path.exists() or path.read_text(encoding="utf-8") != text for path, text in made.items()))
    for path, text in made.items():
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
