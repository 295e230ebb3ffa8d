"""Clients that are silent, slow or greedy, and terminals that the programs leave as they were."""

import fcntl
import json
import os
import pty
import re
import signal
import socket
import struct
import subprocess
import termios
import unittest
from contextlib import contextmanager
from pathlib import Path

from machine import PATIENCE, wait_until

NOBODY, ANOTHER = 65534, 65533
TIOCGPTN = 0x80045430  # ioctl_tty(2); termios has no name for it


def connect(path):
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(PATIENCE)
    connection.connect(str(path))
    return connection


def hostile_connections(path, each=20):
    """Open connections of every kind that waits for its end, and then some; the caller keeps them."""
    head = b"POST /v1/domains HTTP/1.1\r\nHost: x\r\n"
    kinds = (
        b"",
        b"GET /v1/hos",
        head + b"Content-Length: 1000\r\n\r\n{",
        head + b"Content-Length: 9223372036854775808\r\n\r\n{",
        head + b"Content-Length: 1" + b"0" * 30 + b"\r\n\r\n{",
        head + b"Transfer-Encoding: chunked\r\n\r\n5\r\nabc",
        b"GET /v1/epc/map?cells=65536 HTTP/1.1\r\nHost: x\r\n\r\n",  # and never reads the answer
    )
    opened = []
    for _ in range(each):
        for kind in kinds:
            opened.append(connect(path))
            try:
                opened[-1].sendall(kind)
            except (BrokenPipeError, ConnectionResetError):
                pass  # it had to make room already
    return opened


def as_user(uid, work):
    """Runs work() as another user, in a process that then waits; returns its pid, once work() is done."""
    told, tell = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(uid)
            keep = work()
            os.write(tell, b"1")
            signal.pause()
            del keep
        finally:
            os._exit(1)
    os.close(tell)
    with os.fdopen(told, "rb") as end:
        assert end.read(1) == b"1", f"the process of user {uid} failed"
    return child


def silent_clients(machine):
    """Neither root nor another user is kept out by a user who fills the API with silence, nor the user himself, nor the
    daemon's end."""
    if os.geteuid() != 0:
        raise unittest.SkipTest("other users' connections need root")
    m = machine()
    path = m.run / "cloisterd.sock"
    os.chmod(m.run.parent.parent, 0o711)
    os.chmod(m.run, 0o711)
    os.chown(path, 0, NOBODY)  # which group both users are in
    m.create("one")
    served = lambda: http_get(path)
    children = []
    try:
        children.append(as_user(NOBODY, lambda: hostile_connections(path)))
        assert len(m.domains()) == 1
        m.create("two")
        children.append(as_user(ANOTHER, served))
        children.append(as_user(NOBODY, served))
        mine = hostile_connections(path)
        assert len(m.domains()) == 2
        m.destroy("two")
        assert m.open_files() < 400, m.open_files()
        log = m.log.read_text()
        assert f"status=413 uid={NOBODY}" in log, log[-2000:]
        # The end is the daemon's own; start() and kill() wait for PATIENCE alone.
        m.restart(signal.SIGTERM)
        assert set(m.domains()) == {"one"}
        del mine
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    m.destroy("one")


def http_get(path):
    with connect(path) as connection:
        connection.sendall(b"GET /v1/domains HTTP/1.1\r\nHost: x\r\nRange: bytes=0-0\r\n\r\n")
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    assert answer.startswith(b"HTTP/1.1 200 "), answer[:200]
    return answer


def raw_bytes(machine):
    """Bytes that are not UTF-8, from a guest and from a client, come out as UTF-8 everywhere."""
    m = machine()
    m.create("one")
    m.wait_for_ready("one")
    m.type_into("one", b"\xff")
    m.type_into("one", b"\xc3(")
    wait_until(lambda: "\ufffd" in m.console("one").decode(), "the byte")
    cloister = [m.settings.programs / "cloister", "--run", m.run]
    shown = subprocess.run([*cloister, "dmesg", "--json", "one"], capture_output=True, timeout=PATIENCE)
    assert shown.returncode == 0, shown
    assert "\ufffd(" in json.loads(shown.stdout)["console"], shown.stdout
    with connect(m.run / "cloisterd.sock") as connection:
        connection.sendall(b"GET /v1/%ff%1b HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    assert b" 404 " in answer[:20] and "\ufffd" in answer.decode(), answer
    assert 'path="/v1/\\xff\\x1b"' in m.log.read_text(encoding="utf-8")
    # A configuration in other bytes is refused, with their place.
    config = m.run.parent / "latin.cfg"
    config.write_bytes(b'name = "x"\n# caf\xe9\n')
    refused = subprocess.run([*cloister, "create", config], capture_output=True, text=True, timeout=PATIENCE)
    assert refused.returncode == 2 and "latin.cfg:2:6: byte 0xe9: expected UTF-8" in refused.stderr, refused
    m.destroy("one")


# ---- terminals


@contextmanager
def on_terminal(command):
    """The program on a terminal of its own: its pid, the terminal's other end, and a descriptor of its own."""
    pid, master = pty.fork()
    if pid == 0:
        try:
            for ignored_by_python in (signal.SIGPIPE, signal.SIGXFSZ):
                signal.signal(ignored_by_python, signal.SIG_DFL)
            os.execv(str(command[0]), [str(word) for word in command])
        finally:
            os._exit(127)
    number = struct.unpack("I", fcntl.ioctl(master, TIOCGPTN, b"\0" * 4))[0]
    slave = os.open(f"/dev/pts/{number}", os.O_RDWR | os.O_NOCTTY)
    try:
        yield pid, master, slave
    finally:
        try:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass
        os.close(slave)
        os.close(master)


def is_raw(slave):
    return not termios.tcgetattr(slave)[3] & (termios.ICANON | termios.ECHO)


def read_all(master):
    """What is there, without waiting."""
    os.set_blocking(master, False)
    seen = b""
    try:
        while piece := os.read(master, 65536):
            seen += piece
    except (BlockingIOError, OSError):
        pass
    return seen


def terminals(machine):
    """However top, console and run end or stop, the terminal is as it was."""
    m = machine()
    m.create("one")
    cloister = m.settings.programs / "cloister"
    config = m.run.parent / "run.cfg"
    config.write_text(m.creation("here", epc=0, shutdown_timeout=0)["config"])
    commands = {
        "top": [cloister, "--run", m.run, "top"],
        "console": [cloister, "--run", m.run, "console", "one"],
        "run": [cloister, "run", config],
    }
    for name, command in commands.items():
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
            with on_terminal(command) as (pid, master, slave):
                wait_until(lambda: is_raw(slave), f"{name} to take its terminal")
                os.kill(pid, number)
                wait_until(lambda: os.waitpid(pid, os.WNOHANG)[0] == pid, f"{name}'s end")
                assert not is_raw(slave), (name, number)
                if name == "top":
                    assert read_all(master).rstrip().endswith(b"\x1b[?1049l"), name

    # All others whose default ends a process, and those that a broken pipe brings by itself.
    ends = [signal.SIGPIPE, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM, signal.SIGPROF, signal.SIGVTALRM, signal.SIGXCPU,
            signal.SIGXFSZ, signal.SIGIO, signal.SIGPWR, signal.SIGSYS, signal.SIGTRAP, signal.SIGRTMIN, signal.SIGRTMAX]
    for name in ("top", "console"):
        for number in ends:
            with on_terminal(commands[name]) as (pid, master, slave):
                wait_until(lambda: is_raw(slave), f"{name} to take its terminal")
                os.kill(pid, number)
                status = None

                def ended():
                    nonlocal status
                    found, status = os.waitpid(pid, os.WNOHANG)
                    return found == pid

                wait_until(ended, f"{name}'s end")
                assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == number, (name, number, status)
                assert not is_raw(slave), (name, number)
    piped = {"top": "top", "console": "console one", "create": f"create -c {m.run.parent / 'piped.cfg'}"}
    (m.run.parent / "piped.cfg").write_text(m.creation("piped", epc=0)["config"])
    for name, words in piped.items():
        line = f"'{cloister}' --run '{m.run}' {words} | head -c 5"
        with on_terminal(["/bin/sh", "-c", line]) as (pid, master, slave):
            if name != "top":
                domain = {"console": "one", "create": "piped"}[name]
                wait_until(lambda: is_raw(slave), f"{name} to take its terminal")
                m.wait_for_ready(domain)
            # Its next output finds nobody.
            while os.waitpid(pid, os.WNOHANG)[0] != pid:
                if name != "top":
                    m.type_into(domain, b"x")
            assert not is_raw(slave), name
    with open("/dev/full", "wb") as full:
        assert subprocess.run([*commands["top"], "-n", "1"], stdout=full, timeout=PATIENCE).returncode == 1
    m.destroy("piped")

    # Stopped and continued by a shell, which is what makes it a job.
    for name, command in commands.items():
        line = " ".join(f"'{word}'" for word in command)
        with on_terminal(["/bin/bash", "-c", f"set -m; {line}; read -r word; fg"]) as (shell, master, slave):
            wait_until(lambda: is_raw(slave), f"{name} to take its terminal")
            children = Path(f"/proc/{shell}/task/{shell}/children").read_text().split()
            (pid,) = map(int, children)
            state = lambda: re.search(r"\) (.)", Path(f"/proc/{pid}/stat").read_text())[1]
            os.kill(pid, signal.SIGTSTP)
            wait_until(lambda: state() == "T", f"{name} to stop")
            assert not is_raw(slave), name
            os.write(master, b"go on\n")
            wait_until(lambda: is_raw(slave), f"{name} to take its terminal again")
            os.kill(pid, signal.SIGTERM)
            wait_until(lambda: os.waitpid(shell, os.WNOHANG)[0] == shell, f"the end of {name}'s shell")
            assert not is_raw(slave), name
    m.destroy("one")


def versions(machine):
    """Every program says which it is."""
    m = machine()
    said = set()
    for name in ("cloister", "cloisterd", "cloister-vmm", "cloister-enclave", "cloister-transfer"):
        program = m.settings.programs / name
        if not program.exists():
            continue
        shown = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=PATIENCE)
        assert shown.returncode == 0 and shown.stderr == "", shown
        found = re.fullmatch(rf"{name} (\d+\.\d+\.\d+)\n", shown.stdout)
        assert found, shown.stdout
        said.add(found[1])
    assert len(said) == 1, said


CASES = {"silent-clients": silent_clients, "raw-bytes": raw_bytes, "terminals": terminals, "versions": versions}
