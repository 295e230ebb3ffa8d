"""One thread of a program of ours held at a system call (ptrace(2)), while its other threads go on."""

import ctypes
import errno
import os
import unittest
from contextlib import contextmanager

from machine import wait_until

CONT, DETACH, SYSCALL, GETEVENTMSG, SEIZE, INTERRUPT, SYSCALL_INFO = 7, 17, 24, 0x4201, 0x4206, 0x4207, 0x420E
TRACESYSGOOD, TRACECLONE = 1, 8
EVENT_CLONE, EVENT_STOP = 3, 128
SIGTRAP, WALL, SYSCALL_ENTRY = 5, 0x40000000, 1

ptrace_of_libc = ctypes.CDLL(None, use_errno=True).ptrace
ptrace_of_libc.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
ptrace_of_libc.restype = ctypes.c_long


class SyscallInfo(ctypes.Structure):
    """struct ptrace_syscall_info, of an entry."""
    _fields_ = [("op", ctypes.c_uint8), ("pad", ctypes.c_uint8 * 3), ("arch", ctypes.c_uint32), ("ip", ctypes.c_uint64),
                ("sp", ctypes.c_uint64), ("number", ctypes.c_uint64), ("arguments", ctypes.c_uint64 * 6)]


def ptrace(request, thread, address=0, data=0):
    if ptrace_of_libc(request, thread, address, data) < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"ptrace {request:#x} of {thread}: {os.strerror(number)}")


def stop_of(thread):
    """(signal, event) of a stop that has come; None: it runs."""
    pid, status = os.waitpid(thread, os.WNOHANG | WALL)
    if pid == 0:
        return None
    assert os.WIFSTOPPED(status), f"thread {thread} has ended, with {status:#x}"
    return (status >> 8) & 0xFF, status >> 16


def let_go(thread):
    """Of one that runs."""
    ptrace(INTERRUPT, thread)
    wait_until(lambda: stop_of(thread), f"thread {thread} to stop")
    ptrace(DETACH, thread)


@contextmanager
def new_thread_held(pid, trigger, number, matches):
    """Does `trigger`, and holds the thread that the process starts for it where it enters the system call of this
    number with arguments that match. Skips where nothing may be traced."""
    old, new, held = [int(entry) for entry in os.listdir(f"/proc/{pid}/task")], [], None
    try:
        for thread in old:
            ptrace(SEIZE, thread, 0, TRACESYSGOOD | TRACECLONE)
    except OSError as error:
        if error.errno != errno.EPERM:
            raise
        raise unittest.SkipTest(f"no process may be traced here: {error}") from error

    def look_at_old(thread):
        if (stop := stop_of(thread)) is None:
            return
        signal, event = stop
        if event == EVENT_CLONE:
            child = ctypes.c_ulong()
            ptrace(GETEVENTMSG, thread, 0, ctypes.addressof(child))
            new.append(child.value)
        ptrace(CONT, thread, 0, 0 if event else signal)

    def look_at_new(thread):
        """True: it is where it is to be held."""
        if (stop := stop_of(thread)) is None:
            return False
        signal, event = stop
        if signal == SIGTRAP | 0x80:
            info = SyscallInfo()
            ptrace(SYSCALL_INFO, thread, ctypes.sizeof(info), ctypes.addressof(info))
            if info.op == SYSCALL_ENTRY and info.number == number and matches(info.arguments):
                return True
        ptrace(SYSCALL, thread, 0, 0 if event or signal & 0x80 else signal)
        return False

    def is_held():
        nonlocal held
        for thread in old:
            look_at_old(thread)
        held = next((thread for thread in new if look_at_new(thread)), None)
        return held

    trigger()
    wait_until(is_held, f"a thread of {pid} that enters system call {number}")
    for thread in [*old, *new]:
        if thread != held:
            let_go(thread)
    try:
        yield
    finally:
        ptrace(DETACH, held)
