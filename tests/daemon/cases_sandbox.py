"""A VMM that a stranger has taken over: what its sandbox makes of that."""

import ctypes
import json
import os
import re
import signal
import socket
import struct
import time
from pathlib import Path

from machine import PATIENCE, open_files, stop, wait_until

PTRACE_PEEKTEXT, PTRACE_GETREGS, PTRACE_SETREGS, PTRACE_DETACH = 1, 12, 13, 17
PTRACE_SEIZE, PTRACE_INTERRUPT = 0x4206, 0x4207
WALL = 0x40000000
SYSCALL_INSTRUCTION = 0x050F
SYS_SOCKET, SYS_GETPPID = 41, 110

# struct user_regs_struct (sys/user.h), 27 words.
REGISTERS = (
    "r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax rip cs eflags rsp ss fs_base gs_base ds es fs gs"
).split()


class Skipped(Exception):
    """Why this machine cannot run the case."""


def ptrace(request, tid, data=None):
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.restype = ctypes.c_long
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    ctypes.set_errno(0)
    address, value = data if isinstance(data, tuple) else (None, data)
    result = libc.ptrace(request, tid, address, value)
    if ctypes.get_errno():
        raise OSError(ctypes.get_errno(), f"ptrace request {request:#x}")
    return result


def inject(tid, number, *arguments):
    """Has a thread that waits in the kernel make this call in place of the one that it waits in."""
    try:
        ptrace(PTRACE_SEIZE, tid)
    except PermissionError as error:
        raise Skipped("this user may not trace a VMM, which is not dumpable") from error
    ptrace(PTRACE_INTERRUPT, tid)
    assert os.waitpid(tid, WALL)[0] == tid
    words = ctypes.create_string_buffer(8 * len(REGISTERS))
    ptrace(PTRACE_GETREGS, tid, ctypes.addressof(words))
    registers = dict(zip(REGISTERS, struct.unpack(f"{len(REGISTERS)}Q", words.raw)))
    registers["rip"] -= 2
    instruction = ptrace(PTRACE_PEEKTEXT, tid, (registers["rip"], None)) & 0xFFFF
    assert instruction == SYSCALL_INSTRUCTION, f"thread {tid} does not wait in the kernel: {instruction:#x}"
    registers |= dict(zip(("rdi", "rsi", "rdx", "r10"), arguments))
    # No call is under way any more that the kernel would start again (ptrace(2), orig_rax).
    registers |= {"rax": number, "orig_rax": 2**64 - 1}
    words.raw = struct.pack(f"{len(REGISTERS)}Q", *(registers[name] for name in REGISTERS))
    ptrace(PTRACE_SETREGS, tid, ctypes.addressof(words))
    ptrace(PTRACE_DETACH, tid)


def service_thread(pid):
    """The thread of a VMM with one processor that is not its first: it waits in poll()."""
    (other,) = [int(tid) for tid in os.listdir(f"/proc/{pid}/task") if int(tid) != pid]
    return other


def ended_with(m, name):
    lines = [line for line in m.log.read_text().splitlines() if f"event=domain-ended domain={name} " in line]
    return lines[0] if lines else None


def forbidden_call(machine):
    """A VMM makes a call that its filter forbids: it is killed and reported, its EPC is cleaned, and nobody else
    notices."""
    m = machine('[[package]]\nepc = [{ base = 0x1_0000_0000, size = 3 }]\n')
    for name in ("bystander", "victim", "second"):
        m.create(name, epc=1)
        m.wait_for_ready(name)
    bystander = m.domains()["bystander"]
    before = m.epc_contents("bystander")[0].count(b"THE-SECRET")
    assert before > 0

    inject(service_thread(m.domains()["victim"]["pid"]), SYS_SOCKET, 2, 1, 0)
    wait_until(lambda: ended_with(m, "victim"), "the victim's end")
    line = ended_with(m, "victim")
    assert "level=error" in line and "ending=vmm-died" in line and "SIGSYS" in line, line
    m.check_settled(["bystander", "second"])
    # Not only calls that would reach out: whatever the VMM has no use for.
    inject(service_thread(m.domains()["second"]["pid"]), SYS_GETPPID)
    wait_until(lambda: ended_with(m, "second"), "the second victim's end")
    assert "SIGSYS" in ended_with(m, "second")
    m.check_settled(["bystander"])

    assert m.domains()["bystander"]["pid"] == bystander["pid"]
    assert b"b" in m.type_into("bystander", b"b")
    assert m.epc_contents("bystander")[0].count(b"THE-SECRET") == before
    # The next owner has all that the two had.
    m.create("next", epc=2, paused=True)
    assert m.check_accounts()["free_pages"] == 0
    assert not any(b"THE-SECRET" in part for part in m.epc_contents("next")), "a secret in the next owner's pages"


def killed(machine):
    """Any other signal is named too: here one that no sanitizer takes for itself."""
    m = machine()
    os.kill(m.create("victim")["pid"], signal.SIGXCPU)
    wait_until(lambda: ended_with(m, "victim"), "the victim's end")
    assert "ending=vmm-died cause=SIGXCPU" in ended_with(m, "victim"), ended_with(m, "victim")
    m.check_settled([])


def log_pipe(machine):
    """A VMM's standard error is a pipe, never the daemon's log. What it writes is in the log of whichever daemon runs, as
    the domain's that it is, and without a byte that a terminal would obey; a flood is counted."""
    m = machine()
    one = m.create("one")
    m.wait_for_ready("one")
    folder = f"/proc/{one['pid']}/fd"

    def pipe():
        try:
            files = open_files(one["pid"])
        except PermissionError as error:
            raise Skipped("this user may not look at a VMM, which is not dumpable") from error
        assert files["2"].startswith("pipe:"), files
        assert str(m.log) not in files.values(), files
        return files["2"]

    def write(data):
        with open(f"{folder}/2", "wb", buffering=0) as stream:
            stream.write(data)

    def lines(event):
        start = f" program=cloister-vmm event={event} domain=one id={one['id']}"
        return [line for line in m.log.read_text(errors="replace").splitlines() if start in line]

    first = pipe()
    write(b"time=now level=error program=cloisterd event=domain-ended domain=other id=99 ending=x\n\x1b[2Jno line\n")
    wait_until(lambda: lines("vmm-output"), "what is no line")
    assert lines("vmm-output")[0].endswith(r'text="\\x1b[2Jno line"'), lines("vmm-output")
    assert lines("domain-ended")[0].endswith(" ending=x"), lines("domain-ended")
    assert b"\x1b" not in m.log.read_bytes() and "domain=other" not in m.log.read_text()

    # Nobody reads while there is no daemon: the VMM goes on, and counts what it could not say.
    m.kill()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as control:
        control.settimeout(PATIENCE)
        control.connect(str(Path(one["console"]).with_name("control.sock")))

        def ask(verb):
            control.send(json.dumps({"verb": verb}).encode())
            return json.loads(control.recv(65536))

        assert ask("reboot").get("ok")
        wait_until(lambda: ask("status")["restarts"] == 1, "a reboot")
    m.start()
    assert pipe() != first
    assert m.request("POST", "/v1/domains/one/reboot").status == 200
    wait_until(lambda: lines("guest-restarted"), "a line in the new daemon's log")
    assert re.search(r" times=\d+$", lines("lines-suppressed")[0]), lines("lines-suppressed")

    def told():
        return len(lines("flood"))

    def suppressed():
        return sum(int(re.search(r" times=(\d+)$", line)[1]) for line in lines("lines-suppressed"))

    before = suppressed()
    write(b"level=info event=flood\n" * 20_000)
    wait_until(lambda: told() + suppressed() - before == 20_000, "all lines of the flood, told or counted")
    assert 0 < told() < 10_000, told()
    m.destroy("one")
    m.check_settled([])


def full_log_pipe(machine):
    """A daemon dies while a VMM's pipe to it is full: the VMM has waited for nobody, its guest goes on, and the next daemon
    has its log again, with the count of what was lost."""
    m = machine()
    one = m.create("one")
    m.wait_for_ready("one")
    stop(m.process.pid)
    try:
        pipe = os.open(f"/proc/{one['pid']}/fd/2", os.O_WRONLY | os.O_NONBLOCK)
    except PermissionError as error:
        raise Skipped("this user may not look at a VMM, which is not dumpable") from error
    filled = 0
    for size in (4096, 1):
        try:
            while True:
                filled += os.write(pipe, b"x" * size)
        except BlockingIOError:
            pass
    os.close(pipe)
    assert filled >= 4096, filled
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as control:
        control.settimeout(PATIENCE)
        control.connect(str(Path(one["console"]).with_name("control.sock")))

        def ask(verb):
            control.send(json.dumps({"verb": verb}).encode())
            return json.loads(control.recv(65536))

        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as console:
            console.settimeout(PATIENCE)
            console.connect(one["console"])
            seen = b""
            for starts in (2, 3):
                assert ask("reboot").get("ok")
                # It runs when it says so: its start was logged by then, or could not be.
                while seen.count(b"READY") < starts:
                    seen += console.recv(4096)
        m.kill()
        assert ask("status")["state"] == "running"
    m.start()
    found = m.domains()["one"]
    assert (found["pid"], found["state"], found["restarts"]) == (one["pid"], "running", 2), found
    # Two ends and two starts of the guest were not told.
    assert m.request("POST", "/v1/domains/one/reboot").status == 200
    wait_until(lambda: "event=guest-restarted domain=one" in m.log.read_text(), "a line in the new daemon's log")
    lost = re.findall(r"event=lines-suppressed domain=one .*times=(\d+)", m.log.read_text())
    assert sum(map(int, lost)) == 4, m.log.read_text()[-2000:]
    wait_until(lambda: m.console("one").count(b"READY") == 4, "READY")
    m.destroy("one")
    m.check_settled([])


LARGE = """
memory_overcommit = 1000
[[package]]
epc = [{ base = 0x1_0000_0000, size = 1024 }, { base = 0x100_0000_0000, size = 524288 }]
[[package]]
epc = [{ base = 0x200_0000_0000, size = 524288, node = 1 }]
"""


def largest(machine):
    """The largest domain that docs/configuration.md promises lives inside its filter: sixteen processors that all
    compute, eight sections with 1 TiB of EPC from two packages, and reboots; CLOISTER_FULL: more and longer rounds."""
    m = machine(LARGE)
    sections = ['"size=1,package=0"', '"size=1023,package=0"', '"size=523264,package=0"', '"size=524283,package=1"']
    sections += ['"size=1,package=1"', '"size=1,package=1"', '"size=1,package=1"', '"size=2,package=1"']
    m.create("large", kernel="sgx_resident", epc=f"[{', '.join(sections)}]", vcpus=16)
    m.wait_for_ready("large")
    pid = m.domains()["large"]["pid"]

    def work(instructions):
        goal = m.domains()["large"]["instructions"] + instructions
        while m.domains()["large"]["instructions"] < goal:
            time.sleep(0.05)

    rounds, instructions = (20, 500_000_000) if m.settings.full else (3, 3_000_000)
    for reboot in range(1, rounds + 1):
        work(instructions)
        assert m.request("POST", "/v1/domains/large/reboot").status == 200
        wait_until(lambda: m.domains()["large"]["restarts"] == reboot, f"reboot {reboot}")
        wait_until(lambda: m.console("large").count(b"READY") == reboot + 1, f"READY after reboot {reboot}")
    assert m.domains()["large"]["pid"] == pid and b"WRONG" not in m.console("large"), m.console("large")
    m.destroy("large")
    m.check_settled([])


CASES = {"forbidden-call": forbidden_call, "killed": killed, "largest": largest, "log-pipe": log_pipe, "full-log-pipe": full_log_pipe}
