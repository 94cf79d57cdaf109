"""Whether this Python has the stack, in one sentence: read by every Python, 2.7 too, before anything newer is.

python tools/python_version.py cu121     # exit 1, and the sentence, where it has not
"""

import sys

SUPPORTED = {"cu121": ((3, 10), (3, 12)), "cu130": ((3, 11), (3, 13))}


def complaint(stack, version):
    """Say why this version of Python cannot have the stack; empty where it can."""
    lowest, highest = SUPPORTED[stack]
    if lowest <= tuple(version[:2]) <= highest:
        return ""
    span = "-".join(_text(one) for one in (lowest, highest))
    found = "stack " + stack + " is for Python " + span + ", this is " + _text(version)
    return found + ": PYTHON=/path/to/python make ..."


def _text(version):
    return str(version[0]) + "." + str(version[1])


if __name__ == "__main__":
    found = complaint(sys.argv[1], sys.version_info) if sys.argv[1] in SUPPORTED else "STACK is cu121 or cu130"
    if found:
        sys.stderr.write("make: " + found + "\n")
        sys.exit(1)
