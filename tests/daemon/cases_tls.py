"""Domains go to another machine over TLS: to one that machine.toml names, and as whose it says there."""

import os
import pwd
import socket
import ssl
import subprocess
import threading
import time
import unittest

from cases_migration import ROOM, Pair, goes_on
from cases_networks import free_port
from cases_peers import key_of
from cases_persist import FAILED
from machine import PATIENCE, wait_until

ME = pwd.getpwuid(os.geteuid()).pw_name


class Reach:
    """A pair of which the second listens."""

    def __init__(self, machine):
        self.pair = pair = Pair(machine)
        self.port = free_port()
        command = pair.b.command
        pair.b.command = lambda: [*command(), "--migrate-listen", f"127.0.0.1:{self.port}"]
        pair.b.restart()
        self.keys = {"here": key_of(pair.a), "there": key_of(pair.b)}

    def name(self, m, **owners):
        """The peers of a machine, by name, each with its owner."""
        rows = ", ".join(f'{{ name = "{name}", key = "{self.keys[name]}"' + (f', owner = "{owner}"' if owner else "") + " }"
                         for name, owner in owners.items())
        m.description.write_text(f"[migration]\npeers = [{rows}]\n{ROOM}")
        m.restart()

    def go(self, *words, status=0, port=None):
        self.pair.cloister("migrate", "web", f"tls://127.0.0.1:{port or self.port}", *words, status=status)
        return self.pair.cloister.said


def processes(m):
    """Of the program, at this machine."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                words = file.read().split(b"\0")
        except OSError:
            continue
        if words[0].endswith(b"cloister-transfer") and str(m.run).encode() in words:
            found.append(int(pid))
    return found


def goes(machine):
    """It goes, as its peer's owner's; machines that are not named, or bring for nobody, are told so."""
    reach = Reach(machine)
    pair = reach.pair
    a, b = pair.a, pair.b
    pair.ready(vcpus=2)
    assert "'peers' in [migration] of machine.toml is missing" in reach.go(status=FAILED)
    reach.name(a, there=None)
    assert "does not let this machine in" in reach.go(status=FAILED)
    wait_until(lambda: b"lacks " + reach.keys["here"].encode() in b.log.read_bytes(), "why it is not let in")
    reach.name(b, here=None)
    assert "'owner' is missing for 'here'" in reach.go(status=FAILED)
    reach.name(b, here="nobody-of-this-name")
    reach.go(status=FAILED)
    wait_until(lambda: b"there is no user 'nobody-of-this-name'" in b.log.read_bytes(), "why it has no owner")
    b.check_settled([])
    reach.name(b, here=ME)
    uuid = a.domains()["web"]["uuid"]
    assert "web could go to" in reach.go("--dry-run")
    assert "web runs at" in reach.go()
    wait_until(lambda: b.domains()["web"]["state"] != "arriving", "its arrival")
    here = b.domains()["web"]
    assert (here["uuid"], here["state"], here["owner"]["uid"]) == (uuid, "running", os.geteuid()), here
    goes_on(b)
    a.check_settled([])
    b.check_settled(["web"])
    wait_until(lambda: len(processes(b)) == 1, "the end of what carried it")
    # The machine that is meant is not the one that answers.
    b.destroy("web")
    pair.ready(epc=0)
    reach.keys["there"], kept = key_of(machine()), reach.keys["there"]
    reach.name(a, there=None)
    assert f"lacks {kept}" in reach.go(status=FAILED)
    assert "Connection refused" in reach.go(status=FAILED, port=free_port())
    assert pair.lives(a) == "running"
    # With the daemon what listens ends, and the next one listens again.
    (listener,) = processes(b)
    b.restart()
    wait_until(lambda: processes(b) and listener not in processes(b), "another one that listens")
    a.destroy("web")


def owner(machine):
    """Whose it is there is whom its machine.toml names, whatever its source says."""
    if os.geteuid() != 0:
        raise unittest.SkipTest("needs root, to be another user")
    reach = Reach(machine)
    pair = reach.pair
    a, b = pair.a, pair.b
    name = "nobody"
    user = pwd.getpwnam(name).pw_uid
    pair.ready(epc=0)
    reach.name(a, there=None)
    reach.name(b, here=name)
    # Who may not reach the daemon there has no domain there.
    reach.go(status=FAILED)
    assert pair.lives(a) == "running" and not b.domains()
    # As a member of the socket's group.
    os.chmod(b.run.parent, 0o755)
    os.chmod(b.run.parent.parent, 0o755)
    os.chmod(b.run, 0o755)
    os.chmod(b.run / "cloisterd.sock", 0o666)
    os.chmod(a.kernel("ends"), 0o644)
    said = subprocess.run(["setpriv", "--reuid", str(user), "--clear-groups", "test", "-r", str(a.kernel("ends"))]).returncode
    if said != 0:
        raise unittest.SkipTest("the payloads are no file that others may read")
    reach.go()
    assert b.domains()["web"]["owner"]["uid"] == user, b.domains()
    b.destroy("web")


def strangers(machine):
    """Who is no machine of Cloister's is sent nothing but TLS's handshake, and given up after a while."""
    reach = Reach(machine)
    pair = reach.pair
    b = pair.b
    reach.name(b, here=ME)

    def dial():
        end = socket.create_connection(("127.0.0.1", reach.port), timeout=PATIENCE)
        return end

    def rest(end):
        data = b""
        try:
            while more := end.recv(65536):
                data += more
        except OSError:
            pass
        return data

    slow = dial()
    begun = time.monotonic()
    # No TLS: an alert at most.
    with dial() as end:
        end.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert len(rest(end)) < 16
    # TLS 1.2.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with dial() as end:
        try:
            context.wrap_socket(end)
            raise AssertionError("TLS 1.2 is spoken")
        except (ssl.SSLError, OSError):
            pass
    # TLS 1.3, without a certificate.
    context.maximum_version = ssl.TLSVersion.TLSv1_3
    with dial() as end:
        try:
            with context.wrap_socket(end) as tls:
                assert tls.version() == "TLSv1.3"
                tls.sendall(b"CLMOVING\1\0\0\0")
                assert tls.recv(1) == b"", "it was let in"
        except (ssl.SSLError, OSError):
            pass
    # As many as there may be, who say nothing: then the next one waits, and comes when they are given up.
    crowd = [dial() for _ in range(70)]
    wait_until(lambda: slow.recv(1) == b"" or True, "the end of who says nothing")
    assert time.monotonic() - begun < 3 * PATIENCE
    for end in crowd:
        end.close()
    slow.close()
    pair.ready(epc=0)
    reach.name(pair.a, there=None)
    wait_until(lambda: len(processes(b)) < 60, "room for one who comes")
    reach.go()
    assert pair.lives(b) == "running"
    b.destroy("web")


def cuts(machine):
    """The connection is cut at many places: it runs in one place."""
    reach = Reach(machine)
    pair = reach.pair
    a, b = pair.a, pair.b
    reach.name(a, there=None)
    reach.name(b, here=ME)
    pair.ready(epc=0)

    def through(most):
        """How many bytes went to the target; cut after so many."""
        listening = socket.create_server(("127.0.0.1", 0))
        counted = [0]

        def carry():
            come, _ = listening.accept()
            go = socket.create_connection(("127.0.0.1", reach.port))

            def back():
                try:
                    while data := go.recv(65536):
                        come.sendall(data)
                    come.shutdown(socket.SHUT_WR)
                except OSError:
                    pass

            thread = threading.Thread(target=back)
            thread.start()
            try:
                while data := come.recv(65536):
                    if most is not None and counted[0] + len(data) > most:
                        go.sendall(data[:most - counted[0]])
                        break
                    go.sendall(data)
                    counted[0] += len(data)
                else:
                    go.shutdown(socket.SHUT_WR)
                    thread.join()
            except OSError:
                pass
            for end in (come, go):
                try:
                    end.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
            thread.join()
            come.close()
            go.close()

        thread = threading.Thread(target=carry)
        thread.start()
        done = subprocess.run(pair.cloister.command("migrate", "web", f"tls://127.0.0.1:{listening.getsockname()[1]}"),
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=4 * PATIENCE)
        thread.join(4 * PATIENCE)
        listening.close()
        return counted[0], done

    whole, done = through(None)
    assert done.returncode == 0 and pair.lives(b) == "running", done
    for most in [0, 1, 100, 300, 1000, 1500, 2500, 5000, whole // 4, whole // 2, whole - 4000, whole - 200, whole - 100, whole - 40]:
        if pair.lives(b):
            goes_on(b)
            b.destroy("web")
        if not pair.lives(a):
            pair.ready(epc=0)
        _, done = through(most)
        for m in (a, b):
            wait_until(lambda: pair.lives(m) not in ("creating", "moving", "arriving", "ending"), "settled")
        if pair.lives(a) == "in-doubt":
            # Over TLS too a target is asked.
            wait_until(lambda: pair.cloister("migrate", "web", f"tls://127.0.0.1:{reach.port}", "--resolve") or True, "the answer")
        wait_until(lambda: [pair.lives(a), pair.lives(b)].count("running") == 1 and None in (pair.lives(a), pair.lives(b)),
                   "one place")
    for m in (a, b):
        if pair.lives(m):
            m.destroy("web")


CASES = {"tls": goes, "tls-owner": owner, "tls-strangers": strangers, "tls-cuts": cuts}
