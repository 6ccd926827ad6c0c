"""A process that is killed right before one of its changes to a folder, counted over its threads.

Made of Linux's own means, since a library in another language cannot be patched: a filter (seccomp)
stops the process at every system call that may change a file, and its parent (ptrace) looks whether
it is one of the folder, and counts. strace would count for each thread by itself.
"""

from __future__ import annotations

import ctypes
import os
import platform
import signal
import struct
from collections.abc import Callable
from pathlib import Path

IS_POSSIBLE = (platform.system(), platform.machine()) == ("Linux", "x86_64")

# Calls of x86-64 that are given a path, by the number of that argument, or an open file (None).
CALLS = {
    1: None,  # write
    2: 0,  # open
    18: None,  # pwrite64
    20: None,  # writev
    74: None,  # fsync
    75: None,  # fdatasync
    77: None,  # ftruncate
    82: 0,  # rename
    83: 0,  # mkdir
    84: 0,  # rmdir
    85: 0,  # creat
    86: 0,  # link
    87: 0,  # unlink
    257: 1,  # openat
    258: 1,  # mkdirat
    263: 1,  # unlinkat
    264: 1,  # renameat
    265: 1,  # linkat
    316: 1,  # renameat2
    326: None,  # copy_file_range
}
OPENS = {2: 1, 257: 2}  # by the number of the argument that says how

PTRACE_TRACEME, PTRACE_CONT, PTRACE_SETOPTIONS, PTRACE_GET_SYSCALL_INFO = 0, 7, 0x4200, 0x420E
FORK, VFORK, CLONE, SECCOMP, EXITKILL = 1 << 1, 1 << 2, 1 << 3, 1 << 7, 1 << 20
EVENT_SECCOMP = 7
WALL = 0x40000000
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, MODE_FILTER = 38, 22, 2
LOAD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, TRACE = 0x7FFF0000, 0x7FF00000

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)
_libc.ptrace.restype = ctypes.c_long


def run_traced(work: Callable[[], None], folder: Path, kill_at: int) -> int:
    """Fork, and do the work there; return how it ended, as `subprocess` does.

    It is killed instead of its n-th change to the folder, counted from 0. To be called by a process
    that has only one thread, and no other children.
    """
    process = os.fork()
    if not process:
        try:
            _ptrace(PTRACE_TRACEME, 0)
            os.kill(os.getpid(), signal.SIGSTOP)
            _stop_at_calls()
            work()
        finally:
            os._exit(0)
    os.waitpid(process, WALL)
    _ptrace(PTRACE_SETOPTIONS, process, data=FORK | VFORK | CLONE | SECCOMP | EXITKILL)
    _ptrace(PTRACE_CONT, process)
    return _watch(process, str(folder), kill_at)


def _watch(process: int, folder: str, kill_at: int) -> int:
    """Follow all threads to the end of the process."""
    changes = 0
    while True:
        thread, status = os.waitpid(-1, WALL)
        if not os.WIFSTOPPED(status):
            if thread == process:
                return os.waitstatus_to_exitcode(status)
            continue
        code, event = os.WSTOPSIG(status), status >> 16
        if event == EVENT_SECCOMP and _changes(thread, folder):
            if changes == kill_at:
                os.kill(process, signal.SIGKILL)  # a call that has not begun is left out
                continue
            changes += 1
        is_own = event or code in {signal.SIGTRAP, signal.SIGSTOP}
        _ptrace(PTRACE_CONT, thread, data=0 if is_own else code, may_be_gone=True)


def _changes(thread: int, folder: str) -> bool:
    """Tell whether the call at which a thread stands changes something in the folder."""
    info = ctypes.create_string_buffer(88)
    if _ptrace(PTRACE_GET_SYSCALL_INFO, thread, len(info), info, may_be_gone=True) < 0:
        return False
    number, *arguments = struct.unpack_from("=7Q", info, 24)
    if number in OPENS and not arguments[OPENS[number]] & os.O_CREAT:
        return False
    place = CALLS[number]
    try:
        if place is None:
            path = str(Path(f"/proc/{thread}/fd/{arguments[0]}").readlink())
        else:
            path = _text_at(thread, arguments[place])
    except FileNotFoundError:
        return False
    return path.startswith(f"{folder}/")


def _text_at(thread: int, place: int) -> str:
    with Path(f"/proc/{thread}/mem").open("rb", buffering=0) as memory:
        memory.seek(place)
        return memory.read(4096).partition(b"\0")[0].decode(errors="replace")


def _stop_at_calls() -> None:
    """Have this process, and all threads to come, stop at the calls for its parent."""
    jumps = [(JUMP_IF_EQUAL, len(CALLS) - at, 0, number) for at, number in enumerate(sorted(CALLS))]
    program = [(LOAD, 0, 0, 0), *jumps, (RETURN, 0, 0, ALLOW), (RETURN, 0, 0, TRACE)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *one) for one in program))
    head = ctypes.create_string_buffer(struct.pack("@HP", len(program), ctypes.addressof(code)))
    for order in ((PR_SET_NO_NEW_PRIVS, 1, 0), (PR_SET_SECCOMP, MODE_FILTER, head)):
        if _libc.prctl(*order, 0, 0):
            raise OSError(ctypes.get_errno(), "prctl")


def _ptrace(
    order: int, thread: int, address: int = 0, data: object = 0, *, may_be_gone: bool = False
) -> int:
    result = _libc.ptrace(order, thread, address, data)
    if result < 0 and not may_be_gone:
        raise OSError(ctypes.get_errno(), f"ptrace {order}")
    return result
