"""`cloister migrate` and `receive`: a domain goes on at another daemon, here or there and never both."""

import json
import os
import socket
import struct
import subprocess
import threading
import unittest

from cases_ends import press, says
from cases_networks import free_port, gone, needs_passt, on
from cases_owner import GROUP, MEMBER, SUPPLEMENTARY, Member, as_user
from cases_persist import FAILED, Cloister
from machine import PATIENCE, domain_config, is_alive, kill_pid, some, wait_until

ROOM = "[[package]]\nepc = [{ base = 0x1_0000_0000, size = 8 }]\n"
OFFER, ANSWER, PIECE, READY, FAILURE, COMMIT, VERDICT, DONE = range(1, 9)
GREETING = 12


class Pair:
    """Two daemons of this machine, and a socket between them."""

    def __init__(self, machine, there=ROOM):
        self.a, self.b = machine(ROOM), machine(there)
        self.cloister = Cloister(self.a)
        self.other = Cloister(self.b)
        self.socket = self.other.folder / "way"
        self.words = ("--enclaves=lose",)

    def receive(self):
        """The program, as soon as it can be reached."""
        self.socket.unlink(missing_ok=True)
        receiver = subprocess.Popen(self.other.command("receive", f"unix:{self.socket}"), stdin=subprocess.DEVNULL,
                                    stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=self.other.folder)
        wait_until(lambda: self.socket.exists() or receiver.poll() is not None, "the receiver's socket")
        return receiver

    def migrate(self, *words, status=0, to=None):
        """Both ends; what the receiver said. What the source said is `self.cloister.said`."""
        receiver = self.receive()
        self.cloister("migrate", "web", to or f"unix:{self.socket}", *words,
                      *(() if any(word.startswith("--enclaves") for word in words) else self.words), status=status)
        said, _ = receiver.communicate(timeout=4 * PATIENCE)
        return said.decode()

    def ready(self, **more):
        self.a.create("web", kernel="ends", epc=more.pop("epc", 1), **more)
        self.a.wait_for_ready("web")

    def lives(self, m):
        return m.domains().get("web", {}).get("state")


def goes_on(m):
    before = m.console("web").count(b"CLOCK")
    says(m, "web", b"d", b"CLOCK")
    wait_until(lambda: m.console("web").count(b"CLOCK") > before, "CLOCK")


def life(machine):
    """It goes there and back, with what it knew, its uuid, and whether it was paused; nothing stays behind."""
    pair = Pair(machine)
    a, b = pair.a, pair.b
    pair.ready(vcpus=2)
    says(a, "web", b"s", b"SET")
    uuid = a.domains()["web"]["uuid"]
    pair.migrate("--dry-run")
    assert "web could go to" in pair.cloister.said and pair.lives(a) == "running" and not b.domains()
    assert "migration" not in a.domains()["web"]
    said = pair.migrate()
    assert "web runs at" in pair.cloister.said and "web has come" in said, (pair.cloister.said, said)
    a.check_settled([])
    assert " ending=migrated" in [line for line in a.log.read_text().splitlines() if "event=domain-ended" in line][-1]
    wait_until(lambda: pair.lives(b) != "arriving", "its arrival")
    here = b.domains()["web"]
    assert (here["uuid"], here["state"], here["vcpus"], here["epc_mib"]) == (uuid, "running", 2, 1), here
    goes_on(b)
    b.check_settled(["web"])
    assert not os.listdir(b.state / "migrations")
    # Back, paused, as ssh would bring it; and it is found by a daemon that comes later.
    b.request("POST", "/v1/domains/web/pause")
    ssh = pair.other.folder / "ssh"
    program = pair.cloister.command()
    ssh.write_text(f'#!/bin/sh\n[ "$*" = "-p 22 -- me@there cloister receive --stdio" ] || exit 9\nexec {program[0]} --run {a.run} receive --stdio\n')
    ssh.chmod(0o700)
    os.environ["CLOISTER_SSH"] = str(ssh)
    pair.other("migrate", "web", "ssh://me@there:22", *pair.words)
    b.check_settled([])
    a.restart()
    assert pair.lives(a) == "paused", a.domains()
    pair.cloister("unpause", "web")
    goes_on(a)
    a.destroy("web")
    a.check_settled([])


def refused(machine):
    """Every reason at once, before anything pauses, and nothing is left there."""
    pair = Pair(machine, 'silicon = "skylake-client"\n[[package]]\nepc = [{ base = 0x1_0000_0000, size = 2 }]\n')
    a, b = pair.a, pair.b
    kernel = pair.cloister.folder / "kernel"
    kernel.write_bytes(a.kernel("ends").read_bytes())
    text = a.creation("web", epc=4, kernel="ends")["config"].replace(str(a.kernel("ends")), str(kernel))
    assert a.request("POST", "/v1/domains", {"config": text, "file": "web.cfg"}).status == 201
    a.wait_for_ready("web")
    uuid = a.domains()["web"]["uuid"]
    b.create("web", kernel="ends", epc=0)
    b.create("other", kernel="ends", epc=0, uuid=f'"{uuid}"')
    offer = a.request("POST", "/v1/domains/web/migration/offer", {"enclaves": "lose"}).json
    kernel.write_bytes(kernel.read_bytes() + b"\0")
    for words in ((), ("--dry-run",)):
        answer = b.request("POST", "/v1/offers", {"offer": offer})
        said = pair.migrate(*words, status=FAILED)
        for why in ("there is a domain 'web' already", f"there is a domain with the uuid {uuid} already", "'epc': ",
                    "its guest would find another machine: ", "CPUID: leaf 0x12.0 differs"):
            assert why in pair.cloister.said, (why, pair.cloister.said)
        assert any("it is another file than at the source" in why for why in answer.json["refused"]), answer.json
        assert pair.lives(a) == "running" and "migration" not in a.domains()["web"]
        b.check_settled(["web", "other"])
    # Nothing that a source says makes a domain another's: it is created as who receives it would create it.
    b.destroy("web")
    b.destroy("other")
    lies = {**offer, "owner": {"user": 0}, "uid": 0, "kernel_sha256": "0" * 64}
    assert b.request("POST", "/v1/offers", {"offer": lies}).status == 200
    # By a path of the source's its guest would reach programs of the receiver's.
    reaches = {**offer, "config": offer["config"] + 'vsock = "path=/tmp/mine"\n'}
    answer = b.request("POST", "/v1/offers", {"offer": reaches})
    assert any("its vsock has a path" in why for why in answer.json["refused"]), answer.json
    for member, value in (("uuid", "x"), ("shape", "0"), ("version", 9), ("config", 1)):
        answer = b.request("POST", "/v1/offers", {"offer": {**offer, member: value}})
        assert answer.status == 400 and f"'{member}'" in answer.json["error"]["message"], answer.body
    answer = b.request("POST", "/v1/migrations", {"offer": offer})
    assert answer.status == 426, answer.body
    # Of a move to another daemon it says nothing: it may run there.
    session = "0" * 32
    for verdict in ("commit", "abort"):
        answer = b.request("PUT", f"/v1/migrations/{session}/verdict", {"verdict": verdict})
        assert answer.status == 409 and "never its target" in answer.json["error"]["message"], answer.body
    a.destroy("web")
    a.check_settled([])
    b.check_settled([])


class Way:
    """Carries what a source and its target say, and knows each message. `before(kind, body)`: called before a message goes
    on; once it is false nothing goes on any more, and bytes go on instead."""

    def __init__(self, pair, before=lambda kind, body: True, most=None):
        self.path = pair.cloister.folder / "between"
        self.path.unlink(missing_ok=True)
        self.listening = socket.socket(socket.AF_UNIX)
        self.listening.bind(str(self.path))
        self.listening.listen(1)
        self.listening.settimeout(PATIENCE)
        self.pair, self.before, self.most = pair, before, most
        self.log = []  # of the source's: where each begins, its kind, its length
        self.thread = threading.Thread(target=self.carry)
        self.thread.start()

    def carry(self):
        source, _ = self.listening.accept()
        target = socket.socket(socket.AF_UNIX)
        target.connect(str(self.pair.socket))
        self.ends = (source, target)
        back = threading.Thread(target=self.pass_on, args=(target, source, None))
        back.start()
        self.pass_on(source, target, self.most)
        back.join()
        source.close()
        target.close()

    def pass_on(self, come, go, most):
        at = 0

        def forward(data):
            nonlocal at
            part = data if most is None else data[:max(0, most - at)]
            go.sendall(part)
            at += len(data)
            if len(part) < len(data):
                raise ConnectionError

        def take(size):
            data = b""
            while len(data) < size:
                more = come.recv(size - len(data))
                if not more:
                    raise ConnectionError
                data += more
            return data

        try:
            forward(take(GREETING))
            while True:
                head = take(8)
                kind, size = struct.unpack("<II", head)
                body = take(size)
                if come is self.ends[0]:
                    self.log.append((at, kind, size))
                goes = self.before(kind, body)
                if not goes:
                    raise ConnectionError
                body = goes if isinstance(goes, bytes) else body
                forward(struct.pack("<II", kind, len(body)) + body)
        except OSError:
            pass
        for end in self.ends:
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def finish(self):
        self.thread.join(4 * PATIENCE)
        assert not self.thread.is_alive()
        self.listening.close()


def attempt(pair, way):
    """One move by this way; the exit status of its source."""
    receiver = pair.receive()
    source = subprocess.Popen(pair.cloister.command("migrate", "web", f"unix:{way.path}", *pair.words), stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    pair.source, pair.receiver = source, receiver
    said, _ = source.communicate(timeout=4 * PATIENCE)
    way.finish()
    receiver.communicate(timeout=4 * PATIENCE)
    pair.said = said.decode()
    return source.returncode


def is_settled(m):
    """Nothing is under way. Of one that has just been killed the daemon may not know yet."""
    domain = m.domains().get("web")
    if domain is None:
        return True
    if domain["state"] == "running":
        return is_alive(domain["pid"]) and domain.get("migration", {}).get("phase") not in ("copying", "sent")
    return domain["state"] not in ("creating", "moving", "arriving", "ending", "unresponsive")


def settle(pair):
    """Where it runs in the end, which is one place; in doubt it runs nowhere here until somebody asks."""
    a, b = pair.a, pair.b
    for m in (a, b):
        wait_until(lambda: is_settled(m), "settled")
    if pair.lives(a) == "in-doubt":
        receiver = pair.receive()
        done = subprocess.run(pair.cloister.command("migrate", "web", f"unix:{pair.socket}", "--resolve"),
                              capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=4 * PATIENCE)
        # What a source that was killed had asked for may be done meanwhile.
        if done.returncode != 0:
            assert "is not in doubt" in done.stderr, done
            receiver.kill()
        receiver.communicate(timeout=4 * PATIENCE)
        wait_until(lambda: pair.lives(a) in (None, "running"), "resolved")
        wait_until(lambda: pair.lives(b) in (None, "running"), "resolved")
    where = [m for m in (a, b) if pair.lives(m) == "running"]
    return where


def cut(machine):
    """Cut in each byte of what stands before the stream, of messages' heads and of what follows it, and at several places of
    pieces."""
    pair = Pair(machine)
    pair.ready(epc=0)
    whole = Way(pair)
    assert attempt(pair, whole) == 0, pair.said
    (m,) = settle(pair)
    assert m is pair.b
    places = {0, 1, GREETING - 1, GREETING}
    for at, kind, size in whole.log:
        if kind == PIECE:
            places |= {at, at + 3, at + 7, at + 8, at + 8 + size // 2, at + 8 + size - 1}
        elif kind == OFFER:
            places |= {at, at + 7, at + 8, at + 8 + size - 1}
        else:
            places |= set(range(at, at + 8 + size + 1))
    # As long as it has not come it stays where it was; of the last places on it is there.
    pair.b.destroy("web")
    pair.ready(epc=0)
    end = whole.log[-1][0] + 8 + whole.log[-1][2]
    places = sorted(place for place in places if place <= end)
    for most in some(places[:-12], 90) + places[-12:]:
        attempt(pair, Way(pair, most=most))
        where = settle(pair)
        assert len(where) == 1, (most, pair.said, pair.a.domains(), pair.b.domains())
        if where[0] is pair.b:
            goes_on(pair.b)
            pair.b.destroy("web")
            pair.a.check_settled([])
            pair.ready(epc=0)
        else:
            pair.b.check_settled([])
    goes_on(pair.a)
    pair.a.destroy("web")


def kills(machine):
    """Each of the six processes dies before each message goes on: it runs in one place, or nowhere as its process is gone,
    and never in two."""
    pair = Pair(machine)
    a, b = pair.a, pair.b

    def vmm(m):
        domain = m.domains().get("web")
        if domain and domain["pid"]:
            kill_pid(domain["pid"])

    victims = {
        "source": lambda: pair.source.kill(),
        "receiver": lambda: pair.receiver.kill(),
        "daemon here": lambda: a.restart(),
        "daemon there": lambda: b.restart(),
        "process here": lambda: vmm(a),
        "process there": lambda: vmm(b),
    }
    for step in (OFFER, ANSWER, PIECE, READY, COMMIT, VERDICT, DONE):
        for name, kill in victims.items():
            if pair.lives(a) is None:
                pair.ready(epc=0)
            done = []

            def before(kind, body):
                if kind == step and not done:
                    done.append(True)
                    kill()
                return True

            attempt(pair, Way(pair, before))
            where = settle(pair)
            story = (step, name, pair.said, a.domains(), b.domains())
            assert done, story
            # Who kills the domain's own process has killed the domain, where it was.
            lost = name == "process here" and step != DONE or name == "process there" and step in (VERDICT, DONE)
            assert len(where) == 1 or (lost and not where), story
            for m in where:
                goes_on(m)
            if pair.lives(b):
                b.destroy("web")
            a.check_settled(["web"] if pair.lives(a) else [])
            b.check_settled([])
    if pair.lives(a):
        a.destroy("web")


def live(machine):
    """Its guest runs while it is sent; it may be called back, or end, or start anew meanwhile; then it goes on there."""
    pair = Pair(machine)
    a, b = pair.a, pair.b

    def begin():
        pair.ready(epc=0, memory=256)
        says(a, "web", b"f", b"FILLED")
        receiver = pair.receive()
        source = subprocess.Popen(pair.cloister.command("migrate", "web", f"unix:{pair.socket}", "--bandwidth", "16"),
                                  stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

        def copies():
            answer = a.request("GET", "/v1/domains/web/migration")
            return answer.status == 200 and answer.json["bytes"] > 1 << 20 and answer.json

        move = wait_until(copies, "the beginning of the stream")
        assert (move["phase"], move["round"], move["to"]) == ("copying", 1, f"unix:{pair.socket}"), move
        assert pair.lives(a) == "running"
        goes_on(a)
        sample = [line for line in a.request("GET", "/metrics").body.decode().splitlines()
                  if line.startswith('cloister_domain_move_bytes{domain="web"}')]
        assert sample and float(sample[0].split()[-1]) > 1 << 20, sample
        return source, receiver

    def ends(source, receiver, why):
        said, _ = source.communicate(timeout=4 * PATIENCE)
        heard, _ = receiver.communicate(timeout=4 * PATIENCE)
        assert source.returncode == FAILED and why in said.decode(), said
        assert receiver.returncode == FAILED and why in heard.decode() and "out of turn" not in heard.decode(), heard
        wait_until(lambda: not b.domains(), "the end of what had come")
        b.check_settled([])

    one = begin()
    assert a.request("POST", "/v1/domains/web/save", {"file": "/none/saved"}).status in (400, 409)
    pair.cloister("migrate", "web", "--cancel")
    ends(*one, "web goes on here: it was to go on")
    assert pair.lives(a) == "running" and a.get("/v1/domains/web/migration")["phase"] == "over"
    goes_on(a)
    a.destroy("web")
    one = begin()
    press(a, "web", b"r")
    ends(*one, "web goes on here")
    a.wait_for_ready("web")
    a.destroy("web")
    one = begin()
    a.destroy("web")
    ends(*one, "")
    one = begin()
    pid = a.domains()["web"]["pid"]
    a.restart()
    assert pair.lives(a) == "running" and a.domains()["web"]["pid"] == pid
    pair.cloister("migrate", "web", "--cancel")
    ends(*one, "web goes on here")
    # All of it, and what its guest knew.
    said = pair.migrate("--downtime", "50")
    assert "web has come" in said, said
    says(b, "web", b"s", b"SET")
    goes_on(b)
    b.destroy("web")
    a.check_settled([])
    b.check_settled([])


def receive_as(pair, member):
    """From now on that user receives, by a socket of theirs."""
    pair.socket = member.folder / "way"

    def receive():
        pair.socket.unlink(missing_ok=True)
        receiver = subprocess.Popen(pair.other.command("receive", f"unix:{pair.socket}"), stdin=subprocess.DEVNULL,
                                    stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=member.folder, user=MEMBER,
                                    group=GROUP, extra_groups=[SUPPLEMENTARY])
        wait_until(lambda: pair.socket.exists() or receiver.poll() is not None, "the receiver's socket")
        return receiver

    pair.receive = receive


def owner(machine):
    """Whose it is there is who received it, whatever its source says; what they may not read does not come, and nobody else
    says what becomes of it."""
    if os.geteuid() != 0:
        raise unittest.SkipTest("only root can be several users")
    pair = Pair(machine)
    a, b = pair.a, pair.b
    member = Member(b)
    receive_as(pair, member)
    secret = member.copy("secret.elf", a.kernel("ends"), mode=0o600)
    assert a.request("POST", "/v1/domains", {"config": domain_config("web", secret), "file": "web.cfg"}).status == 201
    a.wait_for_ready("web")
    pair.migrate(status=FAILED)
    assert f"kernel '{secret}': Permission denied" in pair.cloister.said, pair.cloister.said
    assert pair.lives(a) == "running" and not b.domains()
    secret.chmod(0o644)
    seen = {}

    def lie(kind, body):
        """As a source that would have it be root's; and another user who would have it not come."""
        if kind == OFFER:
            said = json.loads(body)
            said["uid"] = said["offer"]["uid"] = 0
            said["offer"]["owner"] = {"user": 0, "group": 0, "groups": []}
            return json.dumps(said).encode()
        if kind == ANSWER:
            seen["path"] = f"/v1/migrations/{json.loads(body)['session']}"
        if kind == READY:
            seen["state"] = b.domains()["web"]["state"]
            seen["others"] = as_user(MEMBER + 7, GROUP, [], lambda: [
                b.request("PUT", f"{seen['path']}/verdict", {"verdict": "abort"}).status,
                b.get(seen["path"])["phase"], b.request("POST", "/v1/domains/web/unpause").status])
            seen["unpause"] = b.request("POST", "/v1/domains/web/unpause").status
        return True

    assert attempt(pair, Way(pair, lie)) == 0, pair.said
    assert seen["state"] == "arriving" and seen["others"] == [403, "aborted", 403] and seen["unpause"] == 409, seen
    there = b.domains()["web"]
    assert (there["owner"]["uid"], there["owner"]["gid"], there["state"]) == (MEMBER, GROUP, "running"), there
    goes_on(b)
    b.destroy("web")
    a.check_settled([])
    b.check_settled([])


def in_doubt(machine):
    """What may run elsewhere goes on here by its target's word alone: not by a cancel, and not by another daemon's."""
    pair = Pair(machine)
    a = pair.a
    pair.ready()
    attempt(pair, Way(pair, before=lambda kind, body: kind != COMMIT))
    wait_until(lambda: pair.lives(a) == "in-doubt", "the doubt")
    answer = a.request("DELETE", "/v1/domains/web/migration")
    assert answer.status == 409 and "--resolve" in answer.json["error"]["message"], answer.body
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as control:
        control.settimeout(PATIENCE)
        control.connect(a.domains()["web"]["console"].replace("console.sock", "control.sock"))
        # Of a cancel that was decided before it was held.
        control.sendall(json.dumps({"verb": "move-end", "cancel": True}).encode())
        assert "may run elsewhere" in json.loads(control.recv(65536))["error"]
    assert pair.lives(a) == "in-doubt"
    stranger = Cloister(machine(ROOM))
    way = stranger.folder / "way"
    receiver = subprocess.Popen(stranger.command("receive", f"unix:{way}"), stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    wait_until(way.exists, "the stranger's socket")
    pair.cloister("migrate", "web", f"unix:{way}", "--resolve", status=FAILED)
    receiver.communicate(timeout=4 * PATIENCE)
    assert "never its target" in pair.cloister.said and pair.lives(a) == "in-doubt", pair.cloister.said
    assert settle(pair) == [a]
    goes_on(a)
    a.destroy("web")
    a.check_settled([])


def network(machine):
    """Its network is that of the host where it runs: the target has one for it before anything pauses, or refuses."""
    needs_passt()
    pair = Pair(machine)
    a, b = pair.a, pair.b
    port = free_port()
    answer = a.request("POST", "/v1/domains", a.creation("web", kernel="ends", epc=0, vif=on(port)))
    if answer.status == 400 and b"External interface not usable" in answer.body:
        raise unittest.SkipTest("this host has no default route")
    a.wait_for_ready("web")
    # Both are on this machine, where the source still has the port.
    pair.migrate(status=FAILED)
    assert f"{port}" in pair.cloister.said and pair.lives(a) == "running" and not b.domains(), pair.cloister.said
    a.destroy("web")
    gone(port)
    a.create("web", kernel="ends", epc=0, vif='["type=user"]')
    a.wait_for_ready("web")
    pair.migrate()
    goes_on(b)
    b.destroy("web")
    a.check_settled([])
    b.check_settled([])


def silent(machine):
    """Who takes it says nothing, as one does whose daemon died while it answered: it goes on, and can move once more."""
    m = machine()
    m.create("web", kernel="ends", epc=0)
    m.wait_for_ready("web")
    body = json.dumps({"session": "0" * 32, "to": "nowhere"})
    with socket.socket(socket.AF_UNIX) as taker:
        taker.settimeout(PATIENCE)
        taker.connect(str(m.run / "cloisterd.sock"))
        taker.sendall(("POST /v1/domains/web/migration HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n"
                       f"Upgrade: cloister-move\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
                       f"{body}").encode())
        answer = taker.recv(4096)
        assert answer.startswith(b"HTTP/1.1 101 "), answer
        assert m.get("/v1/domains/web")["migration"]["phase"] != "over"
        assert taker.recv(1) == b""
    wait_until(lambda: m.get("/v1/domains/web/migration")["failed"], "the end of the move")
    assert m.get("/v1/domains/web/migration")["failed"] == "whoever takes it says nothing", m.get("/v1/domains/web/migration")
    says(m, "web", b"d", b"CLOCK")
    m.destroy("web")


CASES = {"migrate-silent": silent, "migrate-in-doubt": in_doubt, "migrate-network": network, "migrate-owner": owner, "migrate-live": live, "migrate": life, "migrate-refused": refused, "migrate-cut": cut, "migrate-kills": kills}
