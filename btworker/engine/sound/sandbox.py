"""Becomes a program that may do very little: it reads one file and the system's libraries, writes to what it was
handed, and starts nothing; it has limits, no network, and dies with its parent. Run as a script.

    python -I -S sandbox.py <parent pid> <memory bytes> <cpu seconds> <input> <program> [argument …]
    python -I -S sandbox.py --output <file> <most bytes> <parent pid> …
    python -I -S sandbox.py --about      # what this kernel can hold a program to, as JSON

The input may be empty, for none, or "*": then there are only the limits, and no network. The output, where there is
one, is a file that is there already: the one that the program may write, up to so many bytes.

engine/sound/process.py starts ffmpeg through this file instead of a preexec_fn: Python code between fork and exec can
deadlock in a process as full of threads as one with torch. Standard library only. What holds where: docs/security.md.
"""

import ctypes
import errno
import os
import resource
import signal
import struct
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1
PR_SET_SECCOMP = 22
PR_SET_NO_NEW_PRIVS = 38
SECCOMP_MODE_FILTER = 2
CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000
CLONE_THREAD = 0x00010000
ANY = "*"
OPEN_FILES = 64
KILL_AFTER_S = 10
"""Of CPU time, after SIGXCPU: SIGKILL at once would look as if memory had run out."""

LANDLOCK_CREATE, LANDLOCK_ADD_RULE, LANDLOCK_RESTRICT = 444, 445, 446
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR, TRUNCATE = 1 << 0, 1 << 1, 1 << 2, 1 << 3, 1 << 14
FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15}
"""Landlock's version -> how many rights to files it knows; 16 from version 5 on."""
LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/nix/store", "/snap", "/etc/ld.so.cache")
"""What the dynamic loader reads; there is no secret of the worker there."""

ALLOW, REFUSE = 0x7FFF0000, 0x00050000
MACHINES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}
"""Machine -> its name for seccomp, and its column in the tables below."""
THREADS = {"clone": (56, 220), "clone3": (435, 435)}
OWN_THREADS = {"tgkill": (234, 131)}
"""Signals a thread of the process that its first argument names: its own is allowed, for abort()."""
REFUSED = {
    # starts processes (arm64 has no fork and vfork: its C library calls clone)
    "fork": (57, None), "vfork": (58, None), "execveat": (322, 281),
    # signals them
    "kill": (62, 129), "tkill": (200, 130), "pidfd_send_signal": (424, 424), "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    # looks into them, or is a way around this filter
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "socket": (41, 198),
    "socketpair": (53, 199), "io_uring_setup": (425, 425),
    # root's alone
    "mount": (165, 40), "umount2": (166, 39), "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430),
    "mount_setattr": (442, 442), "pivot_root": (155, 41), "chroot": (161, 51), "open_by_handle_at": (304, 265),
    "swapon": (167, 224), "swapoff": (168, 225), "reboot": (169, 142), "sethostname": (170, 161),
    "setdomainname": (171, 162), "iopl": (172, None), "ioperm": (173, None), "acct": (163, 89),
    "init_module": (175, 105), "delete_module": (176, 106), "finit_module": (313, 273), "settimeofday": (164, 170),
    "clock_settime": (227, 112), "adjtimex": (159, 171), "clock_adjtime": (305, 266), "kexec_load": (246, 104),
    "kexec_file_load": (320, 294), "bpf": (321, 280), "perf_event_open": (298, 241), "unshare": (272, 97),
    "setns": (308, 268), "keyctl": (250, 219), "userfaultfd": (323, 282),
}  # fmt: skip
"""Call -> its number on x86-64 and on arm64."""


def main(arguments: list[str]) -> None:
    """Restrict this process and become the program."""
    libc = ctypes.CDLL(None, use_errno=True)
    if arguments == ["--about"]:
        has_seccomp = str(filters_calls(libc)).lower()
        sys.stdout.write(f'{{"landlock": {landlock_version(libc)}, "seccomp": {has_seccomp}}}\n')
        return
    output, most_bytes = "", 0
    if arguments[0] == "--output":
        output, most_bytes, arguments = arguments[1], int(arguments[2]), arguments[3:]
    parent_pid, memory_bytes, cpu_s = (int(number) for number in arguments[:3])
    source, program = arguments[3], arguments[4:]
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_pid:  # it died before the line above could help
        sys.exit(1)
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    _leave_network(libc)
    _limit(memory_bytes=memory_bytes, cpu_s=cpu_s, file_bytes=most_bytes)
    if source != ANY:
        _see_only(libc, source, program[0], output)
        _start_nothing(libc)
    os.execv(program[0], program)  # noqa: S606 - this is the point


def landlock_version(libc: ctypes.CDLL) -> int:
    """Ask which version of Landlock the kernel has; 0: none."""
    return max(int(libc.syscall(LANDLOCK_CREATE, None, ctypes.c_size_t(0), 1)), 0)


def filters_calls(libc: ctypes.CDLL) -> bool:
    """Ask whether the kernel takes a filter of calls: it then looks for one at the address, where none is."""
    refused = libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, None, 0, 0) != 0
    return os.uname().machine in MACHINES and refused and ctypes.get_errno() == errno.EFAULT


def _leave_network(libc: ctypes.CDLL) -> None:
    """Enter an empty network namespace where the system lets us; the protocol whitelist stands without it.

    root gets no user namespace: in one, it could no longer read files of other users.
    """
    libc.unshare(CLONE_NEWNET if os.geteuid() == 0 else CLONE_NEWUSER | CLONE_NEWNET)


def _limit(*, memory_bytes: int, cpu_s: int, file_bytes: int) -> None:
    limits = {
        resource.RLIMIT_AS: (memory_bytes, memory_bytes),
        resource.RLIMIT_CPU: (cpu_s, cpu_s + KILL_AFTER_S),
        resource.RLIMIT_FSIZE: (file_bytes, file_bytes),  # 0: it writes to pipes only
        resource.RLIMIT_NOFILE: (OPEN_FILES, OPEN_FILES),
        resource.RLIMIT_CORE: (0, 0),
    }
    for kind, wanted in limits.items():
        most = resource.getrlimit(kind)[1]
        values = wanted if most == resource.RLIM_INFINITY else (min(wanted[0], most), min(wanted[1], most))
        resource.setrlimit(kind, values)


def _see_only(libc: ctypes.CDLL, source: str, program: str, output: str) -> None:
    """Give up every right to files but to read the input, the program and the libraries, and to write the output; with
    newer versions of Landlock TCP (4), and other processes' abstract sockets and signals to them (6) as well."""
    version = landlock_version(libc)
    if not version:
        return
    rights = (1 << FILE_RIGHTS.get(version, 16)) - 1
    attributes = struct.pack("=QQQ", rights, 0b11 if version >= 4 else 0, 0b11 if version >= 6 else 0)
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    rules = libc.syscall(LANDLOCK_CREATE, attributes, ctypes.c_size_t(size), 0)
    binary = Path(program).resolve()
    _allow(libc, rules, str(binary), READ_FILE | EXECUTE)
    beside = binary.parent.parent / "lib"  # of one that was unpacked somewhere
    for path in (*LIBRARIES, str(beside)):
        _allow(libc, rules, path, READ_FILE | READ_DIR | EXECUTE)
    if source:
        _allow(libc, rules, source, READ_FILE)
    if output:
        _allow(libc, rules, output, rights & (READ_FILE | WRITE_FILE | TRUNCATE))
    if libc.syscall(LANDLOCK_RESTRICT, rules, 0) != 0:
        sys.exit(f"sandbox: landlock_restrict_self: {os.strerror(ctypes.get_errno())}")
    os.close(rules)


def _allow(libc: ctypes.CDLL, rules: int, path: str, rights: int) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:  # not on this system
        return
    if not Path(path).is_dir():
        rights &= ~READ_DIR
    libc.syscall(LANDLOCK_ADD_RULE, rules, 1, struct.pack("=Qi", rights, place), 0)
    os.close(place)


def _start_nothing(libc: ctypes.CDLL) -> None:
    """Have seccomp refuse new processes (threads may be) and the calls of REFUSED, for root as well."""
    if not filters_calls(libc):
        return
    code = call_filter(os.uname().machine, os.getpid())
    filters = b"".join(struct.pack("=HBBI", *one) for one in code)
    buffer = ctypes.create_string_buffer(filters, len(filters))
    program = struct.pack("@HP", len(code), ctypes.addressof(buffer))
    if libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, program, 0, 0) != 0:
        sys.exit(f"sandbox: seccomp: {os.strerror(ctypes.get_errno())}")


def call_filter(machine: str, pid: int) -> list[tuple[int, int, int, int]]:
    """Make the filter for process `pid`: instructions of classic BPF (code, jump if true, jump if false, operand)."""
    architecture, column = MACHINES[machine]
    load, equal, at_least, has_bits, give = 0x20, 0x15, 0x35, 0x45, 0x06
    code = [(load, 0, 0, 4), (equal, 1, 0, architecture), (give, 0, 0, REFUSE | errno.EPERM), (load, 0, 0, 0)]
    code += [(at_least, 0, 1, 0x40000000), (give, 0, 0, REFUSE | errno.EPERM)]  # x86's second table of calls
    for number in (numbers[column] for numbers in REFUSED.values()):
        if number is not None:
            code += [(equal, 0, 1, number), (give, 0, 0, REFUSE | errno.EPERM)]
    # glibc tries clone3, whose flags a filter cannot see, and falls back to clone where the kernel has none
    code += [(equal, 0, 1, THREADS["clone3"][column]), (give, 0, 0, REFUSE | errno.ENOSYS)]
    for number, test in (
        (OWN_THREADS["tgkill"][column], (equal, 1, 0, pid)),
        (THREADS["clone"][column], (has_bits, 1, 0, CLONE_THREAD)),
    ):
        code += [(equal, 0, 4, number), (load, 0, 0, 16), test, (give, 0, 0, REFUSE | errno.EPERM), (give, 0, 0, ALLOW)]
    return [*code, (give, 0, 0, ALLOW)]


if __name__ == "__main__":
    main(sys.argv[1:])
