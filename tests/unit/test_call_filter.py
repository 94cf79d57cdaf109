"""The sandbox's filter of system calls, for both machines on any of them: its numbers, and what it decides."""

import ctypes
import errno
import itertools

import pytest

from btworker.engine.sound import sandbox

PID = 4711
CALLS = {**sandbox.REFUSED, **sandbox.THREADS, **sandbox.OWN_THREADS}
HARMLESS = ("read", "write", "openat", "execve", "mmap", "exit_group", "futex", "rt_sigaction")


def number_of(name: str, machine: str) -> int | None:
    """What libseccomp knows from the kernel's tables; None: the machine has no such call."""
    resolve = ctypes.CDLL("libseccomp.so.2").seccomp_syscall_resolve_name_arch
    resolve.argtypes = (ctypes.c_uint32, ctypes.c_char_p)
    found: int = resolve(sandbox.MACHINES[machine][0], name.encode())
    return found if found >= 0 else None


def verdict(machine: str, number: int, first: int = 0, *, of: str = "") -> int:
    """What the filter says to a call with that first argument, as the kernel would run it."""
    data = {0: number, 4: sandbox.MACHINES[of or machine][0], 16: first}
    code, at, value = sandbox.call_filter(machine, PID), 0, 0
    while True:
        operation, if_true, if_false, operand = code[at]
        at += 1
        if operation == 0x06:
            return operand
        if operation == 0x20:
            value = data[operand]
        else:
            holds = {0x15: value == operand, 0x35: value >= operand, 0x45: value & operand != 0}[operation]
            at += if_true if holds else if_false


@pytest.mark.system("libseccomp")
@pytest.mark.parametrize(("name", "machine"), list(itertools.product(CALLS, sandbox.MACHINES)))
def test_a_call_has_the_number_of_the_kernels_table(name: str, machine: str) -> None:
    """On each machine; and a call without one is not there."""
    assert CALLS[name][sandbox.MACHINES[machine][1]] == number_of(name, machine)


@pytest.mark.system("libseccomp")
@pytest.mark.parametrize("machine", sandbox.MACHINES)
def test_the_filter_refuses_its_calls_and_no_other(machine: str) -> None:
    """By EPERM; those of another machine's table too; clone3 is not there, so that clone is asked for."""
    refused = sandbox.REFUSE | errno.EPERM
    for name in sandbox.REFUSED:
        number = number_of(name, machine)
        assert number is None or verdict(machine, number) == refused, name
    for name in HARMLESS:
        number = number_of(name, machine)
        assert number is not None and verdict(machine, number) == sandbox.ALLOW, name
        other = next(one for one in sandbox.MACHINES if one != machine)
        assert verdict(machine, number, of=other) == verdict(machine, number | 0x40000000) == refused
    clone, clone3, tgkill = (number_of(name, machine) or -1 for name in ("clone", "clone3", "tgkill"))
    assert verdict(machine, clone3) == sandbox.REFUSE | errno.ENOSYS
    assert verdict(machine, clone, sandbox.CLONE_THREAD) == verdict(machine, tgkill, PID) == sandbox.ALLOW
    assert verdict(machine, clone, 17) == verdict(machine, tgkill, PID + 1) == refused
