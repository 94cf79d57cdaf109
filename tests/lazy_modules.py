"""speechbrain, which pyannote.audio 3.1 imports, puts modules into sys.modules that raise ImportError when they are
looked at, and hypothesis looks at every module there is."""

import sys

import pyannote.audio.pipelines  # noqa: F401 - it brings them, and does so once


def forget_lazy_modules() -> None:
    """Take them out."""
    for name, module in list(sys.modules.items()):
        if any(kind.__name__ == "LazyModule" for kind in type(module).__mro__):
            del sys.modules[name]
