"""`cloister migrate` of domains with their enclaves alive: they go on at one daemon, without a step that is lost or taken
twice, and are never at two."""

import json
import os
import subprocess

from cases_migration import ANSWER, COMMIT, DONE, OFFER, PIECE, READY, ROOM, VERDICT, Pair, Way, attempt, settle
from cases_persist import FAILED, Cloister
from machine import PATIENCE, kill_pid, some, wait_until

PROOF = 10
# A frame for each page, and EPC that is paged.
KINDS = ({"epc": 1}, {"epc": 4, "epc_min": 1})


def know_each_other(*cloisters):
    """Each daemon's description names the machines of the others."""
    keys = {}
    for number, one in enumerate(cloisters):
        keys[f"machine{number}"] = one("host", "--key").decode().strip()
    for number, one in enumerate(cloisters):
        peers = ", ".join(f'{{ name = "{name}", key = "{key}" }}' for name, key in keys.items() if name != f"machine{number}")
        one.m.description.write_text(ROOM + f"[migration]\npeers = [{peers}]\n")
        one.m.restart()


class Peers(Pair):
    """A pair that knows each other, and keeps enclaves."""

    def __init__(self, machine, **more):
        super().__init__(machine, **more)
        know_each_other(self.cloister, self.other)
        self.words = ("--enclaves=keep",)

    def ready(self, kernel="sgx_counting", **more):
        self.a.create("web", kernel=kernel, **more)
        self.a.wait_for_ready("web")

    def turn(self):
        self.a, self.b = self.b, self.a
        self.cloister, self.other = self.other, self.cloister
        self.socket = self.other.folder / "way"


def goes_on(m):
    """Its guest answers, and its enclaves are what they were."""
    m.type_into("web", b"echo")
    assert b"WRONG" not in m.console("web"), m.console("web")


def keys_of(cloister):
    return cloister("keys").decode()


def key_at(m, uuid):
    return next(key for key in m.get("/v1/keys") if key["key"] == uuid)


def life(machine):
    """Back and forth, paged or not, with its keys, which are where it runs; it counts on."""
    pair = Peers(machine)
    for kernel, kind in [("sgx_counting", one) for one in KINDS] + [("sgx_resident", KINDS[1])]:
        pair.ready(kernel, **kind)
        uuid = pair.a.domains()["web"]["uuid"]
        for hop in range(5):
            if hop == 0:
                pair.migrate("--dry-run")
                assert "web could go to" in pair.cloister.said and "migration" not in pair.a.domains()["web"]
            if hop == 3:
                pair.a.request("POST", "/v1/domains/web/pause")
            said = pair.migrate()
            assert "with its enclaves" in pair.cloister.said and "web has come" in said, (pair.cloister.said, said)
            pair.a.check_settled([])
            assert uuid not in keys_of(pair.cloister) and uuid in keys_of(pair.other)
            assert not os.listdir(pair.b.state / "migrations")
            here = pair.b.domains()["web"]
            assert here["state"] == ("paused" if hop == 3 else "running"), here
            if hop == 3:
                # The daemon after this one finds it.
                pair.b.restart()
                pair.other("unpause", "web")
            goes_on(pair.b)
            pair.turn()
        print(kernel, kind, "pause", pair.b.log.read_text().count("pause"), flush=True)
        pair.cloister("destroy", "web")
        pair.a.check_settled([])
        pair.cloister("keys", "erase", uuid)
    pair.b.check_settled([])


def again(pair, where, died=False):
    """It runs there alone, and counts on; then it is at the source again, to be moved once more. died: its process at the
    source, in doubt: then nobody knows there that its key has gone."""
    story = (pair.said, pair.a.domains(), pair.b.domains(), pair.a.log.read_text()[-3000:], pair.b.log.read_text()[-3000:])
    assert len(where) == 1, story
    (m,) = where
    goes_on(m)
    other = pair.b if m is pair.a else pair.a
    wait_until(lambda: not other.domains(), "the end of the other one")
    other.check_settled([])
    cloister, uuid = pair.other if m is pair.a else pair.cloister, m.domains()["web"]["uuid"]
    if died and uuid in keys_of(cloister):
        cloister("keys", "erase", uuid)
    assert uuid not in keys_of(cloister), (keys_of(cloister), story)
    if m is pair.b:
        pair.turn()


def cut(machine):
    """Cut in each byte from READY on, which is around the root and the verdict, and at several places before that: it runs
    at one daemon, with all that its enclave has counted."""
    pair = Peers(machine)
    for kind in KINDS:
        pair.ready(**kind)
        whole = Way(pair)
        assert attempt(pair, whole) == 0, pair.said
        again(pair, settle(pair))
        # The root comes behind the first empty piece.
        empty = [number for number, (_, kind, size) in enumerate(whole.log) if kind == PIECE and size == 0]
        assert len(empty) == 2, whole.log
        places = set()
        for number, (at, kind, size) in enumerate(whole.log):
            if number > empty[0] and kind != PIECE:
                places |= set(range(at, at + 8 + size + 1))
            elif number > empty[0]:
                places |= set(range(at, at + 9)) | {at + 8 + size // 2, at + 8 + size - 1, at + 8 + size}
            elif kind == PIECE and number % 40 == 0 or number in (empty[0], *range(4)):
                places |= {at + 3, at + 8, at + 8 + size // 2}
        # Addresses and words have other lengths in other moves: cuts are counted from the root on.
        start = whole.log[empty[0]][0]
        for place in some(sorted(places), 20):
            way = Way(pair, most=place) if place <= start else CutBehindRoot(pair, place - start)
            attempt(pair, way)
            again(pair, settle(pair))
        pair.cloister("destroy", "web")


class CutBehindRoot(Way):
    """Cut so many bytes behind the beginning of the first empty piece, wherever that is."""

    def __init__(self, pair, behind):
        self.behind, self.begins = behind, None
        super().__init__(pair, self.count)

    def count(self, kind, body):
        if kind == PIECE and not body and self.begins is None:
            self.begins = 0
        return True

    def pass_on(self, come, go, most):
        if most is not None or come is not self.ends[0]:
            return super().pass_on(come, go, most)
        way, left = self, self.behind

        class Counted:
            def sendall(self, data):
                nonlocal left
                part = data if way.begins is None else data[:max(0, left)]
                if way.begins is not None:
                    left -= len(data)
                go.sendall(part)
                if len(part) < len(data):
                    raise ConnectionError

        return super().pass_on(come, Counted(), None)


def kills(machine):
    """Each of the six processes dies before each message goes on: it runs in one place, or nowhere as its process is gone,
    and never in two."""
    pair = Peers(machine)

    killed = set()

    def vmm(m):
        domain = m.domains().get("web")
        if domain and domain["pid"]:
            killed.add(domain["pid"])
            kill_pid(domain["pid"])

    def seen_dead():
        return all(domain["pid"] not in killed for m in (pair.a, pair.b) for domain in m.domains().values())

    victims = {
        "source": lambda: pair.source.kill(),
        "receiver": lambda: pair.receiver.kill(),
        "daemon here": lambda: pair.a.restart(),
        "daemon there": lambda: pair.b.restart(),
        "process here": lambda: vmm(pair.a),
        "process there": lambda: vmm(pair.b),
    }
    pair.ready(**KINDS[1])
    for step in ("offer", "answer", "proof", "piece", "empty piece", "ready", "root", "last piece", "root ready", "commit",
                 "verdict", "done"):
        for name, kill in victims.items():
            if pair.lives(pair.a) is None:
                pair.ready(**KINDS[1])
            done, seen = [], []

            def now(kind, body):
                words = {OFFER: "offer", ANSWER: "answer", PROOF: "proof", COMMIT: "commit", VERDICT: "verdict", DONE: "done"}
                if kind == READY:
                    seen.append("ready")
                    return "ready" if seen.count("ready") == 1 else "root ready"
                if kind == PIECE:
                    empty = not body
                    word = ("root" if not empty else "last piece") if "empty" in seen else "empty piece" if empty else "piece"
                    if empty:
                        seen.append("empty")
                    return word
                return words.get(kind)

            def before(kind, body):
                if now(kind, body) == step and not done:
                    done.append(True)
                    kill()
                return True

            attempt(pair, Way(pair, before))
            wait_until(seen_dead, "the end of a process that was killed")
            killed.clear()
            where = settle(pair)
            story = (step, name, pair.said, pair.a.domains(), pair.b.domains(), pair.a.log.read_text()[-3000:],
                     pair.b.log.read_text()[-3000:])
            assert done, story
            # Who kills the domain's own process has killed the domain, where it was.
            lost = name == "process here" and step != "done" or name == "process there" and step in ("verdict", "done")
            assert len(where) == 1 or (lost and not where), story
            if where:
                again(pair, where, died=name == "process here")
            else:
                pair.a.check_settled([])
                pair.b.check_settled([])
                for one in (pair.cloister, pair.other):
                    for line in keys_of(one).splitlines():
                        for word in line.split():
                            if word.count("-") == 4:
                                one("keys", "erase", word)
    if pair.lives(pair.a):
        pair.a.destroy("web")


def doubt(machine):
    """In doubt it stands still, and nothing but its own target's word lets it go on: nobody's here, and no other daemon's."""
    pair = Peers(machine)
    for kind in KINDS:
        pair.ready(**kind)
        session = {}

        def until_commit(kind, body):
            if kind == ANSWER:
                session["id"] = json.loads(body)["session"]
            return kind != COMMIT

        attempt(pair, Way(pair, until_commit))
        a = pair.a
        wait_until(lambda: pair.lives(a) == "in-doubt", "the doubt")
        a.restart()
        assert pair.lives(a) == "in-doubt"
        for verdict in ("commit", "abort"):
            for more in ({}, {"word": "0" * 64}):
                answer = a.request("POST", "/v1/domains/web/migration/verdict", {"session": session["id"], "verdict": verdict, **more})
                assert answer.status == 409 and pair.lives(a) == "in-doubt", answer.body
        assert a.request("DELETE", "/v1/domains/web/migration").status == 409
        # Its target has been started anew, too.
        pair.b.restart()
        assert settle(pair) == [a]
        again(pair, [a])
        pair.cloister("destroy", "web")
        pair.a.check_settled([])
        pair.b.check_settled([])


def alone(machine):
    """Nobody asks its target: its enclaves are lost here, and their key, and it goes on; there they may run."""
    pair = Peers(machine)
    for commits in (False, True):
        pair.ready("sgx_resident", **KINDS[commits])
        a, b = pair.a, pair.b
        uuid = a.domains()["web"]["uuid"]
        before = key_at(a, uuid)
        attempt(pair, Way(pair, before=lambda kind, body: kind != (VERDICT if commits else COMMIT)))
        wait_until(lambda: pair.lives(a) == "in-doubt", "the doubt")
        wait_until(lambda: pair.lives(b) == ("running" if commits else None), "its target's verdict")
        pair.cloister("migrate", "web", "--resolve", "--here")
        assert "web goes on here" in pair.cloister.said and pair.lives(a) == "running", pair.cloister.said
        after = key_at(a, uuid)
        assert after["power_ons"] == before["power_ons"] + 1, (before, after)
        # Its guest finds its enclave gone, and another key in the next one.
        wait_until(lambda: b"WRONG" in a.console("web"), "what is lost")
        a.type_into("web", b"echo")
        a.destroy("web")
        if commits:
            goes_on(b)
            b.destroy("web")
        for one in (pair.cloister, pair.other):
            if uuid in keys_of(one):
                one("keys", "erase", uuid)
        a.check_settled([])
        b.check_settled([])


def replays(machine):
    """The root of another move, or of the same one at another daemon, is refused; and no target commits what its source does
    not hold."""
    pair = Peers(machine)
    third = Cloister(machine(ROOM))
    know_each_other(pair.cloister, pair.other, third)
    pair.ready()
    kept, sessions = [], []

    def keep(kind, body):
        if kind == PIECE:
            kept.append(body)
        if kind == ANSWER:
            sessions.append(json.loads(body)["session"])
        return kind != COMMIT

    attempt(pair, Way(pair, keep))
    assert settle(pair) == [pair.a]
    # What seals a stream seals no second one, whose frames would have the same counters.
    upgrade = {"Upgrade": "cloister-move", "Connection": "Upgrade"}
    again = pair.a.request("POST", "/v1/domains/web/migration", {"session": sessions[0], "to": "nowhere"}, headers=upgrade)
    assert again.status == 409 and "was used for a stream" in again.json["error"]["message"], again.body
    for there in (pair.other, third):
        pair.other, pair.b, pair.socket = there, there.m, there.folder / "way"
        old = iter(kept)

        def replay(kind, body):
            return next(old, b"") or True if kind == PIECE else True

        assert attempt(pair, Way(pair, replay)) != 0, pair.said
        assert settle(pair) == [pair.a], pair.said
        pair.b.check_settled([])

        # The new stream up to the old root.
        roots = []

        def old_root(kind, body):
            if kind == PIECE and not body:
                roots.append(True)
            if kind == PIECE and roots and body:
                return kept[kept.index(b"") + 1]
            return True

        assert attempt(pair, Way(pair, old_root)) != 0, pair.said
        assert settle(pair) == [pair.a], pair.said

        def no_hold(kind, body):
            return json.dumps({"paused": False, "held": "0" * 64}).encode() if kind == COMMIT else True

        assert attempt(pair, Way(pair, no_hold)) != 0, pair.said
        assert settle(pair) == [pair.a], pair.said
        goes_on(pair.a)
        pair.b.check_settled([])
    pair.a.destroy("web")


def rounds(machine):
    """Its guest is had stand still once that takes no longer than it may, or once more rounds do not help, and it is said which
    it was, with what was left of its enclaves."""
    pair = Peers(machine)
    for kind in KINDS:
        pair.ready(**kind)
        for downtime, why in (("300", "near-enough"), ("0", "no-nearer")):
            found = {}

            def sent():
                found.update(pair.a.get("/v1/domains/web/migration"))
                return found["phase"] == "sent"

            def until_it_stands(kind, body):
                if kind == PIECE and not body:
                    wait_until(sent, "that all is sent")
                return kind != PIECE or bool(body)

            pair.words = ("--enclaves=keep", "--downtime", downtime)
            assert attempt(pair, Way(pair, until_it_stands)) == FAILED, pair.said
            assert (found["stood_still"], found["epc_bytes_left"]) == (why, 0), (kind, found)
            assert found["round"] == 1 if why == "near-enough" else found["round"] > 4, found
            wait_until(lambda: pair.lives(pair.a) == "running", "that it goes on")
            goes_on(pair.a)
            wait_until(lambda: not pair.b.domains(), "the end of what had come")
        pair.a.destroy("web")


def group(machine):
    """The key of its group stays where it did not come: others use it by then, also while the daemon is started anew."""
    pair = Peers(machine)
    b = pair.b
    pair.ready(epc=1, sgx_platform='"group:prod"')

    def used():
        return [key["used_by"] for key in b.get("/v1/keys") if key["key"] == "group:prod"]

    for restarts in (True, False):
        pieces = []

        def before(kind, body):
            pieces.append(kind == PIECE)
            if sum(pieces) != 2:
                return True
            # It comes, and its key has; then whoever brings it goes.
            wait_until(used, "the group's key")
            b.create("db", kernel="sgx_counting", epc=1, sgx_platform='"group:prod"')
            b.wait_for_ready("db")
            if restarts:
                b.kill()
            return False

        assert attempt(pair, Way(pair, before)) != 0, pair.said
        if restarts:
            b.start()
        wait_until(lambda: list(b.domains()) == ["db"], "the end of what has not come")
        assert used() == [["db"]], b.get("/v1/keys")
        b.destroy("db")
        assert used() == [[]], b.get("/v1/keys")
        pair.other("keys", "erase", "group:prod")
        wait_until(lambda: pair.lives(pair.a) == "running", "that it goes on")
    assert attempt(pair, Way(pair)) == 0, pair.said
    b.destroy("web")


def verdicts(machine):
    """Those whose sources have not said that they know them are no arrivals, and have a bound of their own; root and the
    daemon's own user remove one whose source is gone, if they say so."""
    pair = Peers(machine)
    pair.ready()
    folder = pair.b.state / "migrations"
    folder.mkdir(mode=0o700, exist_ok=True)

    def keep(number):
        session = f"{number:032x}"
        file = folder / session
        file.write_text(json.dumps({"verdict": "commit", "paused": False, "uuid": "u", "name": "n", "user": os.getuid(), "done": "0" * 64}))
        file.chmod(0o600)
        return session

    for number in range(4095):
        keep(number)
    assert attempt(pair, Way(pair)) == 0, pair.said
    pair.turn()
    assert attempt(pair, Way(pair)) == 0, pair.said
    pair.turn()
    last = keep(4095)
    assert attempt(pair, Way(pair)) != 0 and "have not said that they know it" in pair.said, pair.said
    for query, status in (("", 409), ("?source=there", 400), ("?source=gone", 200)):
        answer = pair.b.request("DELETE", f"/v1/migrations/{last}{query}")
        assert answer.status == status and (folder / last).exists() == (status != 200), (query, answer.body)
    assert attempt(pair, Way(pair)) == 0, pair.said
    pair.b.destroy("web")


def full(machine):
    """A domain whose guest uses all of its EPC stays where no frames are kept for its versions; where they are, and each
    other one is granted, it leaves, comes back, is saved and restored, and they are back then."""
    pair = Peers(machine)
    small = {"kernel": "sgx_full", "epc": 2}
    pair.ready(**small)
    pair.migrate(status=FAILED)
    assert "0 of its EPC pages are free or lent to it" in pair.cloister.said, pair.cloister.said
    pair.cloister("save", "web", "web.saved", status=FAILED)
    assert "0 of its EPC pages are free or lent to it" in pair.cloister.said, pair.cloister.said
    goes_on(pair.a)
    pair.cloister("destroy", "web")
    for m in (pair.a, pair.b):
        text = m.description.read_text()
        m.description.write_text(text.replace("size = 8", "size = 3").replace("[migration]", "[migration]\nreserve = 1"))
        m.restart()
    pair.ready(**small)
    assert pair.a.get("/v1/epc")["migration"] == {"reserve_mib": 1}
    answer = pair.a.request("POST", "/v1/domains", pair.a.creation("more", epc=1))
    assert answer.status == 507 and b"a reserve of 1 MiB" in answer.body, answer.body

    def all_are_back(m, granted):
        wait_until(lambda: m.get("/v1/epc")["granted_pages"] == granted, f"{granted} granted pages, no more")
        m.check_accounts()

    for _ in range(2):
        pair.migrate()
        assert "with its enclaves" in pair.cloister.said, pair.cloister.said
        pair.a.check_settled([])
        goes_on(pair.b)
        all_are_back(pair.b, 512)
        pair.turn()
    pair.cloister("save", "web", "web.saved")
    pair.a.check_settled([])
    pair.cloister("restore", "web.saved")
    goes_on(pair.a)
    all_are_back(pair.a, 512)
    # A move that comes to nothing, and a daemon that dies once frames were lent.
    whole = Way(pair)
    assert attempt(pair, whole) == 0, pair.said
    pair.turn()
    attempt(pair, Way(pair, most=whole.log[len(whole.log) // 2][0]))
    assert settle(pair) == [pair.a], pair.said
    all_are_back(pair.a, 512)
    goes_on(pair.a)
    saver = subprocess.Popen(pair.cloister.command("save", "web", "again.saved"), cwd=pair.cloister.folder,
                             stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until(lambda: saver.poll() is not None or pair.a.get("/v1/epc")["granted_pages"] != 512, "frames to be lent")
    pair.a.kill()
    saver.wait()
    pair.a.start()
    wait_until(lambda: pair.a.get("/v1/epc")["granted_pages"] in (0, 512), "what was lent to be back")
    pair.a.check_accounts()
    if pair.a.domains():
        goes_on(pair.a)


CASES = {"migrate-enclaves": life, "migrate-enclaves-cut": cut, "migrate-enclaves-kills": kills, "migrate-enclaves-doubt": doubt,
         "migrate-enclaves-alone": alone, "migrate-enclaves-replays": replays, "migrate-enclaves-group": group,
         "migrate-enclaves-rounds": rounds,
         "migrate-enclaves-verdicts": verdicts, "migrate-enclaves-all-pages": full}
