"""A controller's request."""

from typing import Any


def body(**changes: Any) -> dict[str, Any]:
    """A dispatch to nowhere: names in .invalid are never found."""
    return {
        "controllerJobId": "job-1",
        "inputs": [{"inputId": "a", "filename": "talk.wav", "downloadUrl": "http://controller.invalid/in?sig=secret"}],
        "options": {},
        "callbackUrl": "http://controller.invalid/done",
        "outputsUploadUrl": "http://controller.invalid/out",
        **changes,
    }
