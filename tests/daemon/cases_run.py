"""`cloister run` ends when it is told to, whoever does not read; and what cannot be set up is no end of a guest's."""

import fcntl
import os
import resource
import signal
import socket
import struct
import subprocess
import termios
import time

from cases_clients import is_raw, on_terminal, read_all
from machine import PATIENCE, wait_until

FEW, CRASHED = 54397, 3  # a user of nothing else; an exit status
ENDINGS = {"ctrl-]": 128 + signal.SIGINT, "timeout": 124, "signal": 128 + signal.SIGTERM}


def configure(m, kernel, **more):
    path = m.run.parent / f"{kernel}.cfg"
    path.write_text(m.creation("here", epc=0, kernel=kernel, shutdown_timeout=0, **more)["config"])
    return path


def type_all(master, keys):
    """Types as a paste does; what the program shows meanwhile is read."""
    end = time.monotonic() + PATIENCE
    while keys:
        assert time.monotonic() < end, f"{len(keys)} keys were not taken"
        read_all(master)
        try:
            keys = keys[os.write(master, keys[:1000]) :]
        except BlockingIOError:
            time.sleep(0.001)


def keys_that_nobody_takes(machine):
    """A guest that never reads its serial port, and 200 KB typed into it."""
    m = machine()
    config = configure(m, "hostile_endless")
    for ending, status in ENDINGS.items():
        options = ["--timeout", "4"] if ending == "timeout" else []
        with on_terminal([m.settings.programs / "cloister", "run", *options, config]) as (pid, master, slave):
            wait_until(lambda: is_raw(slave), "the run to take its terminal")
            type_all(master, b"x" * 200_000)
            if ending == "ctrl-]":
                type_all(master, b"\x1d")
            if ending == "signal":
                os.kill(pid, signal.SIGTERM)
            ended = wait_until(lambda: (found := os.waitpid(pid, os.WNOHANG))[0] and found, f"the end by {ending}")
            assert os.waitstatus_to_exitcode(ended[1]) == status, (ending, ended)
            assert not is_raw(slave), ending


def keys_in_a_console(machine):
    """The same of `cloister console`: Ctrl-] detaches."""
    m = machine()
    m.create("deaf", kernel="hostile_endless", epc=0)
    with on_terminal([m.settings.programs / "cloister", "--run", m.run, "console", "deaf"]) as (pid, master, slave):
        wait_until(lambda: is_raw(slave), "the console to take its terminal")
        type_all(master, b"x" * 1_000_000 + b"\x1d")
        ended = wait_until(lambda: (found := os.waitpid(pid, os.WNOHANG))[0] and found, "the end")
        assert os.waitstatus_to_exitcode(ended[1]) == 0, ended
        assert not is_raw(slave)
    m.destroy("deaf")


def console_that_nobody_reads(machine):
    """`cloister console` into a full pipe: Ctrl-] detaches."""
    m = machine()
    m.create("talks", epc=0)
    m.wait_for_ready("talks")
    fifo = m.run.parent / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    fcntl.fcntl(reader, fcntl.F_SETPIPE_SZ, 4096)
    console = [m.settings.programs / "cloister", "--run", m.run, "console", "talks"]
    with on_terminal(["/bin/sh", "-c", 'exec "$@" >"$0"', fifo, *console]) as (pid, master, slave):
        wait_until(lambda: is_raw(slave), "the console to take its terminal")
        type_all(master, b"x" * 20_000)
        wait_until(lambda: m.console("talks").count(b"x") == 20_000, "all of it on the console")
        type_all(master, b"\x1d")
        ended = wait_until(lambda: (found := os.waitpid(pid, os.WNOHANG))[0] and found, "the end")
        assert os.waitstatus_to_exitcode(ended[1]) == 0, ended
        assert not is_raw(slave)
    os.close(reader)
    m.destroy("talks")


def in_pipe(descriptor):
    return struct.unpack("i", fcntl.ioctl(descriptor, termios.FIONREAD, b"\0" * 4))[0]


def output_that_nobody_reads(machine):
    """A guest that prints into a full pipe, which messages may have to go to, too."""
    m = machine()
    config = configure(m, "resident")
    typed = m.run.parent / "typed"
    typed.write_bytes(b"x" * 200_000)
    for messages_too in (False, True):
        for ending in ("timeout", "signal"):
            reader, writer = os.pipe()
            fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)  # full to poll(2) as soon as there is a byte in it
            options = ["--timeout", "4"] if ending == "timeout" else []
            errors = m.run.parent / "errors"
            with typed.open("rb") as keys, errors.open("wb") as apart:
                run = subprocess.Popen([m.settings.programs / "cloister", "run", *options, config], stdin=keys,
                                       stdout=writer, stderr=writer if messages_too else apart)
            try:
                wait_until(lambda: in_pipe(reader) > 0 or run.poll() is not None, "a full pipe")
                if ending == "signal":
                    run.send_signal(signal.SIGTERM)
                assert run.wait(PATIENCE) == ENDINGS[ending], (ending, messages_too, run.returncode)
            finally:
                run.kill()
            assert os.get_blocking(writer), "the pipe is others', too"
            if ending == "timeout" and not messages_too:
                assert "some of the console is lost" in errors.read_text(), errors.read_text()
            os.close(reader)
            os.close(writer)

    # A reader that goes away ends the run, and is no signal's doing.
    run = subprocess.Popen([m.settings.programs / "cloister", "run", config], stdin=typed.open("rb"),
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert run.stdout.read(5) == b"READY"
    run.stdout.close()
    assert run.wait(PATIENCE) == 1
    assert b"cannot write the console to standard output: Broken pipe" in run.stderr.read()


def set_up(machine):
    """What --gdb and --trace name and cannot be had: one line, status 1, and no crash that would be restarted."""
    m = machine()
    config = configure(m, "ends", on_crash='"restart"', restart_limit=0)
    place = m.run.parent

    def run(*options, keys=b"o"):
        done = subprocess.run([m.settings.programs / "cloister", "run", *options, config], input=keys,
                              capture_output=True, timeout=PATIENCE)
        assert b"crashed" not in done.stderr, done
        return done.returncode, done.stderr.decode()

    assert run("--gdb", "/nonexistent/x") == (1, "cloister: gdb socket /nonexistent/x: No such file or directory\n")
    with socket.socket(socket.AF_UNIX) as others:
        others.bind(str(place / "others"))
        others.listen()
        status, said = run("--gdb", place / "others")
        assert status == 1 and "somebody may listen" in said, (status, said)
        assert (place / "others").exists()
    # Nobody listens any more: it is replaced, and ours goes with the run.
    status, said = run("--gdb", place / "others")
    assert status == 0 and not (place / "others").exists(), (status, said)

    os.mkfifo(place / "fifo")
    for path, why in (("/nonexistent/x", "No such file or directory"), (place, "Is a directory"),
                      (place / "fifo", "nobody reads it")):
        assert run("--trace=exits", "--trace-file", path) == (1, f"cloister: trace file {path}: {why}\n")
    status, said = run("--trace=exits", "--trace-file", "/dev/full")
    assert status == 1 and said.count("trace file /dev/full: No space left on device") == 1, (status, said)
    assert "powered off" in said, "the guest went on"
    status, said = run("--trace=exits", "--trace-file", place / "trace")
    assert status == 0 and " exit " in (place / "trace").read_text(), (status, said)


def few_threads(machine):
    """Whatever number of threads the host gives a run, its guest has them all, or it ends and says that there are none."""
    if os.geteuid() != 0:
        return  # one's own limit counts what else one's user runs
    m = machine()
    config = configure(m, "resident", vcpus=16)
    for folder in (m.run.parent.parent, m.run.parent):
        folder.chmod(0o755)
    config.chmod(0o644)
    outcomes = set()
    for limit in (1, 2, 8, 15, 16, 24):
        run = subprocess.run([m.settings.programs / "cloister", "run", "--timeout", "1", config], user=FEW, group=FEW,
                             extra_groups=[], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE,
                             preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NPROC, (limit, limit)))
        if run.returncode != ENDINGS["timeout"]:
            assert run.returncode == CRASHED and "the host has no thread for vCPU" in run.stderr, (limit, run)
        outcomes.add(run.returncode)
    assert outcomes == {ENDINGS["timeout"], CRASHED}, outcomes


CASES = {"run-keys": keys_that_nobody_takes, "console-keys": keys_in_a_console, "console-unread": console_that_nobody_reads,
         "run-unread": output_that_nobody_reads,
         "run-set-up": set_up, "run-few-threads": few_threads}
