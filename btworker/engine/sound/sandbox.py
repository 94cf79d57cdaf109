"""Becomes a program that may do very little: limits, no network, and death with its parent. Run as a script.

    python -I -S sandbox.py <parent pid> <memory bytes> <cpu seconds> <program> [argument …]

engine/sound/ffmpeg.py starts ffmpeg through this file instead of a preexec_fn: Python code between fork and exec can
deadlock in a process as full of threads as one with torch. Standard library only.
"""

import ctypes
import os
import resource
import signal
import sys

PR_SET_PDEATHSIG = 1
PR_SET_NO_NEW_PRIVS = 38
CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000
OPEN_FILES = 64
KILL_AFTER_S = 10
"""Of CPU time, after SIGXCPU: SIGKILL at once would look as if memory had run out."""


def main(arguments: list[str]) -> None:
    """Restrict this process and become the program."""
    parent_pid, memory_bytes, cpu_s = (int(number) for number in arguments[:3])
    program = arguments[3:]
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_pid:  # it died before the line above could help
        sys.exit(1)
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    _leave_network(libc)
    _limit(memory_bytes=memory_bytes, cpu_s=cpu_s)
    os.execv(program[0], program)  # noqa: S606 - this is the point


def _leave_network(libc: ctypes.CDLL) -> None:
    """Enter an empty network namespace where the system lets us; the protocol whitelist stands without it.

    root gets no user namespace: in one, it could no longer read files of other users.
    """
    libc.unshare(CLONE_NEWNET if os.geteuid() == 0 else CLONE_NEWUSER | CLONE_NEWNET)


def _limit(*, memory_bytes: int, cpu_s: int) -> None:
    limits = {
        resource.RLIMIT_AS: (memory_bytes, memory_bytes),
        resource.RLIMIT_CPU: (cpu_s, cpu_s + KILL_AFTER_S),
        resource.RLIMIT_FSIZE: (0, 0),  # it writes to pipes only
        resource.RLIMIT_NOFILE: (OPEN_FILES, OPEN_FILES),
        resource.RLIMIT_CORE: (0, 0),
    }
    for kind, wanted in limits.items():
        most = resource.getrlimit(kind)[1]
        values = wanted if most == resource.RLIM_INFINITY else (min(wanted[0], most), min(wanted[1], most))
        resource.setrlimit(kind, values)


if __name__ == "__main__":
    main(sys.argv[1:])
