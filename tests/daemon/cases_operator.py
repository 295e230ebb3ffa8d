"""What an operator may do to the daemon and its domains without harm: signals, closed descriptors, many viewers, many
reboots, VMMs that do not answer."""

import json
import os
import signal
import socket
import subprocess
from pathlib import Path

from machine import PATIENCE, stop, wait_until


def no_vmm(machine):
    """Without a program for its domains the daemon says so at once."""
    m = machine()
    folder = m.state.parent
    (folder / "text").write_text("no program")
    for path, why in ((folder / "nothing", "No such file"), (folder, "not a regular file"), (folder / "text", "Permission denied")):
        command = [m.settings.programs / "cloisterd", "--state", folder / "s2", "--run", folder / "r2", "--vmm", path]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
        # Root may execute whatever anybody may.
        assert ended.returncode == 1 and f"cannot use {path}" in ended.stderr and why in ended.stderr, ended
        assert "event=ready" not in ended.stderr, ended


def hangup(machine):
    """SIGHUP is noted, and changes nothing."""
    m = machine()
    m.create("one")
    m.process.send_signal(signal.SIGHUP)
    wait_until(lambda: "event=nothing-to-reload" in m.log.read_text(), "the line in the log")
    assert set(m.domains()) == {"one"} and m.process.poll() is None


def closed_streams(machine):
    """Started with descriptors 0 to 2 closed, no answer has a line of the log in it."""
    m = machine()
    m.kill(signal.SIGTERM)
    m.process = subprocess.Popen(m.command(), preexec_fn=lambda: [os.close(fd) for fd in (0, 1, 2)])

    def answers():
        try:
            return m.request("GET", "/v1/epc").status == 200
        except OSError:
            return False

    wait_until(answers, "an answer")
    for fd in (0, 1, 2):
        assert os.readlink(f"/proc/{m.process.pid}/fd/{fd}") == "/dev/null"
    m.create("one")
    for _ in range(10):
        refused = m.request("GET", "/v1/domains/nobody")  # which is logged
        assert refused.status == 404 and refused.json["error"]["message"] == "no domain 'nobody'", refused.body
    m.wait_for_ready("one")
    m.destroy("one")


def connect(path):
    viewer = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    viewer.settimeout(PATIENCE)
    viewer.connect(path)
    return viewer


def read_until(viewer, text):
    seen = b""
    while text not in seen:
        chunk = viewer.recv(4096)
        assert chunk, f"the connection ended after {seen}"
        seen += chunk
    return seen


def viewers(machine):
    """Who only ends what it types goes on reading; the seventeenth viewer is told that it is one too many."""
    m = machine()
    m.create("one")
    m.wait_for_ready("one")
    path = m.domains()["one"]["console"]
    half = connect(path)
    half.sendall(b"typed")
    half.shutdown(socket.SHUT_WR)
    read_until(half, b"typed")
    others = [connect(path) for _ in range(15)]
    for other in others:
        read_until(other, b"READY")
    assert b"takes no more" in read_until(connect(path), b"\n")
    others[0].sendall(b"again")
    read_until(half, b"again")


def controllers(machine):
    """The seventeenth control connection of a VMM is told that it is one too many, whether it has asked or not."""
    m = machine()
    console = m.create("one")["console"]
    m.wait_for_ready("one")

    def control():
        end = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        end.settimeout(PATIENCE)
        end.connect(console.replace("console.sock", "control.sock"))
        return end

    def status(end):
        end.sendall(b'{"verb":"status"}')
        return json.loads(end.recv(65536))

    def ask_daemon():
        return m.request("POST", "/v1/domains/one/pause")

    # The daemon's launching connection ends when the domain runs.
    wait_until(lambda: ask_daemon().status == 200, "the domain to run")
    ends = [control() for _ in range(16)]
    for end in ends:
        assert status(end)["ok"], "one of sixteen is refused"
    words = "16 control connections already"
    for asks in (False, True):
        late = control()
        if asks:
            try:
                late.sendall(b'{"verb":"status"}')
            except BrokenPipeError:
                pass  # it was turned away already
        assert words in json.loads(late.recv(65536))["error"]
        assert late.recv(1) == b""
    answer = ask_daemon()
    assert answer.status == 409 and words in answer.json["error"]["message"], answer.body
    ends.pop().close()
    wait_until(lambda: m.request("POST", "/v1/domains/one/unpause").status == 200, "room for one")
    assert all(status(end)["state"] == "running" for end in ends)


def reboots(machine):
    """A reboot that is granted is one that happens; a paused domain stays paused."""
    m = machine()
    m.create("one")
    m.wait_for_ready("one")
    statuses = [m.request("POST", "/v1/domains/one/reboot").status for _ in range(100)]
    assert set(statuses) <= {200, 409} and 200 in statuses, statuses
    wait_until(lambda: m.domains()["one"]["restarts"] == statuses.count(200), f"{statuses.count(200)} restarts")
    wait_until(lambda: m.console("one").endswith(b"READY\n"), "READY after the last reboot")
    assert m.request("POST", "/v1/domains/one/pause").status == 200
    refused = m.request("POST", "/v1/domains/one/reboot")
    assert refused.status == 409 and "paused" in refused.json["error"]["message"], refused.body
    assert m.domains()["one"]["state"] == "paused" and m.domains()["one"]["restarts"] == statuses.count(200)


def reset_loop(machine):
    """A guest that ends as soon as it starts is restarted as often as its configuration says, later and later, and then
    ends for good."""
    m = machine()
    m.create("loop", kernel="reset", epc=0, restart_limit=3)
    m.create("waits", kernel="reset", epc=0, restart_limit=0)
    wait_until(lambda: m.domains()["waits"]["state"] == "restarting", "a wait between two restarts")
    refused = m.request("POST", "/v1/domains/waits/pause")
    assert refused.status == 409 and "it does not run" in refused.json["error"]["message"], refused.body
    m.destroy("waits")
    m.create("crash", kernel="triple_fault", epc=2, restart_limit=4, on_crash='"restart"')
    wait_until(lambda: m.domains() == {}, "both ends")
    m.check_settled([])

    def lines(event, name):
        return [line for line in m.log.read_text().splitlines() if f"event={event} domain={name} " in line]

    for name, ending, restarts in (("loop", "reset", 3), ("crash", "crashed", 4)):
        assert len(lines("guest-ended", name)) == restarts + 1, lines("guest-ended", name)
        assert len(lines("guest-restarted", name)) == restarts, lines("guest-restarted", name)
        assert len(lines("guest-restarts-no-more", name)) == 1, name
        (ended,) = lines("domain-ended", name)
        assert f" ending={ending} " in ended and f"restarted {restarts} times within 300 s" in ended, ended
    assert not lines("guest-restart-delayed", "loop")
    (delayed,) = lines("guest-restart-delayed", "crash")
    assert delayed.endswith(" seconds=1"), delayed


def silent(machine):
    """VMMs that do not answer a new daemon keep what they have, and are what they really are once they answer."""
    m = machine()
    names = [f"d{i}" for i in range(4)]
    pids = {}
    for name in names:
        pids[name] = m.create(name)["pid"]
        m.wait_for_ready(name)
    epc = m.check_accounts()
    for name in names[:3]:
        stop(pids[name])
    try:
        m.restart()
        states = {name: domain["state"] for name, domain in m.domains().items()}
        assert states == {"d0": "unresponsive", "d1": "unresponsive", "d2": "unresponsive", "d3": "running"}, states
        assert m.check_accounts() == epc
        console = m.request("GET", "/v1/domains/d0/console")
        assert console.status == 500 and "does not answer" in console.json["error"]["message"], console.body
        assert b"READY" in m.console("d3")
        os.kill(pids["d0"], signal.SIGCONT)
        wait_until(lambda: m.domains()["d0"]["state"] == "running", "d0 to be what it is")
        assert b"READY" in m.console("d0") and b"x" in m.type_into("d0", b"x")
        # Also under a daemon that keeps running: it learns so when it asks for something.
        stop(pids["d3"])
        paused = m.request("POST", "/v1/domains/d3/pause")
        assert paused.status == 500 and "does not answer" in paused.json["error"]["message"], paused.body
        assert m.domains()["d3"]["state"] == "unresponsive", m.domains()["d3"]
        assert "READY" in m.console("d3").decode() and m.check_accounts() == epc
        wait_until(lambda: 'event=domain-unresponsive domain=d3' in m.log.read_text(), "the log to say so")
        os.kill(pids["d3"], signal.SIGCONT)
        wait_until(lambda: m.domains()["d3"]["state"] == "running", "d3 to be what it is")
        assert "event=domain-answers domain=d3" in m.log.read_text()
        assert b"x" in m.type_into("d3", b"x")
        # One that never answers can be ended, and may end by itself.
        m.destroy("d1")
        os.kill(pids["d2"], signal.SIGKILL)
        wait_until(lambda: set(m.domains()) == {"d0", "d3"}, "the ends of the silent ones")
    finally:
        for pid in pids.values():
            try:
                os.kill(pid, signal.SIGCONT)
            except ProcessLookupError:
                pass
    m.check_settled(["d0", "d3"])


def too_late(machine):
    """What was said to have had no answer is not done later, whoever asked and whatever became of that one; who has
    only ended what it sends gets its answer."""
    m = machine()
    one = m.create("one")
    m.wait_for_ready("one")
    control_path = one["console"].replace("console.sock", "control.sock")

    def control(verb):
        end = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        end.settimeout(PATIENCE)
        end.connect(control_path)
        end.sendall(json.dumps({"verb": verb}).encode())
        return end

    stop(one["pid"])
    try:
        answer = m.request("POST", "/v1/domains/one/reboot")
        assert answer.status == 500 and "does not answer" in answer.json["error"]["message"], answer.body
        # As a daemon does that dies.
        control("pause").close()
    finally:
        os.kill(one["pid"], signal.SIGCONT)
    end = control("status")
    end.shutdown(socket.SHUT_WR)
    # Those that came before have been looked at by now.
    assert json.loads(end.recv(65536))["state"] == "running"
    m.type_into("one", b"x")
    assert m.domains()["one"]["restarts"] == 0 and m.console("one").count(b"READY") == 1
    # And those who wait have what they asked for.
    assert m.request("POST", "/v1/domains/one/reboot").status == 200
    wait_until(lambda: m.domains()["one"]["restarts"] == 1, "the restart that was granted")


def early_end(machine):
    """A daemon that does not serve yet ends at once: here the signal was there before it was."""
    m = machine()
    m.create("one")
    m.kill()

    def send_before_it_starts():
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        os.kill(os.getpid(), signal.SIGTERM)

    ended = subprocess.run(m.command(), preexec_fn=send_before_it_starts, capture_output=True, text=True, timeout=PATIENCE)
    assert ended.returncode == -signal.SIGTERM and "event=ready" not in ended.stderr, ended
    m.start()
    assert set(m.domains()) == {"one"}


def long_description(machine):
    """A description of a machine without end is refused, in a line of the log that names it."""
    m = machine()
    m.kill()
    sparse = m.state.parent / "sparse"
    sparse.touch()
    os.truncate(sparse, 6 << 30)
    for path in (sparse, "/dev/zero"):
        ended = subprocess.run([*m.command(), "--machine", path], capture_output=True, text=True, timeout=PATIENCE)
        assert ended.returncode == 1 and f'event=failed error="{path}: cannot read: found ' in ended.stderr, ended
    m.start()


def host_in_words(machine):
    """Of an empty list `cloister host` says that there is none."""
    m = machine()
    m.kill()
    process = subprocess.Popen([*m.command(), "--cgroup", "none"], stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: m.run.joinpath("cloisterd.sock").exists(), "the socket")
        command = [m.settings.programs / "cloister", "--run", m.run, "host"]
        wait_until(lambda: subprocess.run(command, capture_output=True).returncode == 0, "an answer")
        shown = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
        assert "control_groups none, " in shown.stdout, shown.stdout
    finally:
        process.kill()
        process.wait()
    m.start()


CASES = {
    "too-late": too_late,
    "early-end": early_end,
    "long-description": long_description,
    "host": host_in_words,
    "no-vmm": no_vmm,
    "hangup": hangup,
    "closed-streams": closed_streams,
    "viewers": viewers, "controllers": controllers,
    "reboots": reboots,
    "reset-loop": reset_loop,
    "silent": silent,
}
