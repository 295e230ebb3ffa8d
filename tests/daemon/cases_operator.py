"""What an operator may do to domains without harm: many viewers, many reboots."""

import socket

from machine import PATIENCE, wait_until


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


CASES = {"viewers": viewers, "reboots": reboots}
