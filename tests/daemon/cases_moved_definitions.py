"""The definition of a domain that moves: it is where the domain is, and nowhere else; in doubt, both are."""

import os
import signal
import subprocess
import unittest

from cases_live_enclaves import Peers
from cases_live_enclaves import goes_on as counts_on
from cases_migration import ANSWER, COMMIT, DONE, OFFER, PIECE, READY, VERDICT, Pair, Way, attempt, goes_on, receive_as, settle
from cases_owner import GROUP, MEMBER, Member
from cases_persist import FAILED, Cloister
from machine import PATIENCE, domain_config, kill_pid, some, wait_until


def define(cloister, kernel="ends", epc=1, **more):
    cloister("define", cloister.file("web", domain_config("web", cloister.m.kernel(kernel), epc=epc, **more)))


def started(pair, kernel="ends", epc=1, **more):
    define(pair.cloister, kernel, epc, **more)
    pair.cloister("autostart", "web", "last", "--order", "7", "--delay", "2")
    pair.cloister("start", "web")
    pair.a.wait_for_ready("web")


def definition(m):
    """None: there is none."""
    answer = m.request("GET", "/v1/domains/web/definition")
    return answer.json["config"] if answer.status == 200 else None


def life(machine):
    """There and back, with and without enclaves; once it has ended there it is shut off there, and starts there."""
    for kind, kernel, well in ((Pair, "ends", goes_on), (Peers, "sgx_counting", counts_on)):
        pair = kind(machine)
        started(pair, kernel)
        text, uuid = definition(pair.a), pair.a.domains()["web"]["uuid"]
        pair.migrate("--dry-run")
        assert "web could go to" in pair.cloister.said and definition(pair.b) is None
        pair.migrate()
        assert definition(pair.a) is None and definition(pair.b) == text
        assert pair.a.request("GET", "/v1/domains/web").status == 404 and os.listdir(pair.a.state / "definitions") == []
        wait_until(lambda: pair.lives(pair.b) != "arriving", "its arrival")
        there = pair.b.get("/v1/domains/web")
        assert (there["uuid"], there["persistent"], there["autostart"], there["order"], there["delay_seconds"]) == (uuid, True, "last", 7, 2), there
        assert there["differs"] == [] and there["state"] == "running", there
        well(pair.b)
        pair.b.restart()
        well(pair.b)
        # Back, which nothing keeps it from.
        pair.cloister, pair.other, pair.a, pair.b = pair.other, pair.cloister, pair.b, pair.a
        pair.socket = pair.other.folder / "way"
        pair.migrate()
        assert definition(pair.a) is None and definition(pair.b) == text
        well(pair.b)
        pair.b.destroy("web")
        assert pair.b.get("/v1/domains/web")["state"] == "shut off"
        pair.other("start", "web")
        pair.b.wait_for_ready("web")
        pair.b.destroy("web")
        pair.other("undefine", "web")


def refused(machine):
    """What stands against it is said before anything is sent; what was offered is what goes."""
    pair = Pair(machine)
    started(pair)
    define(pair.cloister, memory=128)
    for words in (("--dry-run",), ()):
        pair.migrate(*words, status=FAILED)
        assert "it was defined anew since it was started (memory), and only what runs can go along" in pair.cloister.said, pair.cloister.said
    define(pair.cloister)
    # As many as a user may have; and its name is taken by one that is shut off.
    define(pair.other)
    pair.migrate("--dry-run", status=FAILED)
    assert "'web'" in pair.cloister.said and definition(pair.b) is not None, pair.cloister.said
    pair.other("undefine", "web")

    def changed(kind, body):
        if kind == READY:
            pair.cloister("autostart", "web", "on")
            # Who only asks whether it could go changes nothing of what has left.
            assert pair.a.request("POST", "/v1/domains/web/migration/offer", {"enclaves": "lose"}).status == 200
        return True

    assert attempt(pair, Way(pair, changed)) != 0
    assert "its definition was changed" in pair.said and settle(pair) == [pair.a], pair.said
    assert definition(pair.a) is not None and definition(pair.b) is None

    # In doubt it is as it is.
    attempt(pair, Way(pair, before=lambda kind, body: kind != COMMIT))
    wait_until(lambda: pair.lives(pair.a) == "in-doubt", "the doubt")
    for words in (("autostart", "web", "off"), ("define", pair.cloister.folder / "web.cfg")):
        pair.cloister(*words, status=FAILED)
        assert "is on its way elsewhere, and its definition with it" in pair.cloister.said, pair.cloister.said
    pair.cloister("undefine", "web", status=FAILED)
    assert settle(pair) == [pair.a] and definition(pair.b) is None
    goes_on(pair.a)
    pair.migrate()
    assert definition(pair.a) is None and pair.b.get("/v1/domains/web")["autostart"] == "on"
    pair.b.destroy("web")


def owner(machine):
    """It is the receiver's, and within what they may have."""
    if os.geteuid() != 0:
        raise unittest.SkipTest("only root can be several users")
    pair = Pair(machine)
    member = Member(pair.b)
    receive_as(pair, member)
    kernel = member.copy("web.elf", pair.a.kernel("ends"), mode=0o644)
    pair.cloister("define", pair.cloister.file("web", domain_config("web", kernel)))
    pair.cloister("start", "web")
    pair.a.wait_for_ready("web")
    pair.migrate()
    there = pair.b.get("/v1/domains/web")
    assert there["persistent"] and (there["owner"]["uid"], there["owner"]["gid"]) == (MEMBER, GROUP), there
    assert member.request("GET", "/v1/domains/web/definition")[0] == 200
    pair.b.destroy("web")
    assert member.request("POST", "/v1/domains/web/start")[0] == 201
    pair.b.destroy("web")


def where_it_is(pair, where, story):
    """One definition, at the domain; or it is in doubt here. Then a target's word settles that."""
    a, b = pair.a, pair.b
    for m in where:
        wait_until(lambda: m.get("/v1/domains/web")["persistent"], "its definition")
    here, there = definition(a) is not None, definition(b) is not None
    doubt = a.request("GET", "/v1/domains/web").json.get("state") == "in-doubt"
    if doubt:
        pair.cloister("start", "web", status=FAILED)
        assert "may run at" in pair.cloister.said, (pair.cloister.said, story)
        receiver = pair.receive()
        pair.cloister("migrate", "web", f"unix:{pair.socket}", "--resolve")
        receiver.communicate(timeout=4 * PATIENCE)
        here, there = definition(a) is not None, definition(b) is not None
        assert a.request("GET", "/v1/domains/web").json.get("state") != "in-doubt", story
    assert here != there, (here, there, story)
    if where:
        assert where[0] is (a if here else b), (here, there, story)
    return a if here else b


def kills(machine):
    """Each of the six processes dies before each message goes on."""
    pair = Pair(machine)

    def vmm(m):
        domain = m.domains().get("web")
        if domain and domain["pid"]:
            kill_pid(domain["pid"])

    victims = {
        "source": lambda: pair.source.kill(),
        "receiver": lambda: pair.receiver.kill(),
        "daemon here": lambda: pair.a.restart(),
        "daemon there": lambda: pair.b.restart(),
        "process here": lambda: vmm(pair.a),
        "process there": lambda: vmm(pair.b),
    }
    define(pair.cloister, epc=0)
    for step in (OFFER, ANSWER, PIECE, READY, COMMIT, VERDICT, DONE):
        for name, kill in victims.items():
            if pair.lives(pair.a) is None:
                pair.cloister("start", "web")
                pair.a.wait_for_ready("web")
            done = []

            def before(kind, body):
                if kind == step and not done:
                    done.append(True)
                    kill()
                return True

            attempt(pair, Way(pair, before))
            where = settle(pair)
            story = (step, name, pair.said, pair.a.domains(), pair.b.domains())
            assert done, story
            at = where_it_is(pair, where, story)
            if at is pair.b:
                if pair.lives(pair.b):
                    pair.b.destroy("web")
                pair.other("undefine", "web")
                define(pair.cloister, epc=0)
    if pair.lives(pair.a):
        pair.a.destroy("web")


def cut(machine):
    """Cut in each byte of what follows the stream."""
    pair = Pair(machine)
    define(pair.cloister, epc=0)

    def ready():
        pair.cloister("start", "web")
        pair.a.wait_for_ready("web")

    ready()
    whole = Way(pair)
    assert attempt(pair, whole) == 0, pair.said
    last = max(number for number, (_, kind, _) in enumerate(whole.log) if kind == PIECE)
    first, end = whole.log[last][0], whole.log[-1][0] + 8 + whole.log[-1][2]
    for most in some(range(first, end + 1), (end - first) // 5):
        if definition(pair.b) is not None:
            pair.b.destroy("web")
            pair.other("undefine", "web")
            define(pair.cloister, epc=0)
            ready()
        attempt(pair, Way(pair, most=most))
        where = settle(pair)
        assert len(where) == 1, (most, pair.said)
        where_it_is(pair, where, (most, pair.said))


def doubtful(machine):
    """In doubt, and its process is dead: it is not started here from anything; and when its target has it, its group's
    key has gone with the last member."""
    pair = Peers(machine)
    a, b = pair.a, pair.b

    def in_doubt():
        pid = a.domains()["web"]["pid"]
        attempt(pair, Way(pair, before=lambda kind, body: kind != VERDICT or not body))
        wait_until(lambda: pair.lives(a) == "in-doubt", "the doubt")
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: "web" not in a.domains(), "its end")

    started(pair, "sgx_counting", sgx_platform='"group:g"')
    pair.cloister("snapshot", "web", "web.snap")
    in_doubt()
    for words in (("start", "web"), ("restore", "web.snap")):
        pair.cloister(*words, status=FAILED)
        assert "'web' may run at" in pair.cloister.said and a.domains() == {}, (words, pair.cloister.said)
    # Nor is its uuid free for another one, which would have its key.
    for words in (("undefine", "web"), ("undefine", "--keys", "web"), ("define", pair.cloister.folder / "web.cfg"),
                  ("autostart", "web", "off"), ("rename", "web", "other")):
        pair.cloister(*words, status=FAILED)
        assert "'web' may run at" in pair.cloister.said and "`cloister migrate --resolve --here`" in pair.cloister.said, (words, pair.cloister.said)
    assert a.get("/v1/domains/web")["state"] == "in-doubt" and len(a.get("/v1/keys")) == 2
    receiver = pair.receive()
    pair.cloister("migrate", "web", f"unix:{pair.socket}", "--resolve")
    receiver.communicate(timeout=4 * PATIENCE)
    assert definition(a) is None and a.get("/v1/keys") == [], a.get("/v1/keys")
    counts_on(b)
    b.destroy("web")


def full(machine):
    """So it is while the disk is full, whatever its autostart says: what cannot be written down counts all the same."""
    places = []

    def small(description=None, prepare=lambda _: None):
        def mount(m):
            m.state.mkdir(mode=0o700)
            mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m,mode=0700", "none", str(m.state)], capture_output=True, text=True)
            if mounted.returncode != 0:
                raise unittest.SkipTest(f"no small file system can be mounted here: {mounted.stderr.strip()}")
            places.append(m)
            prepare(m)

        return machine(description, mount)

    try:
        pair = Peers(small)
        a, filler = pair.a, pair.a.state / "filler"
        a.kill()
        a.environment["CLOISTER_TEST_BOOT_ID"] = "boot-1"
        a.start()
        started(pair, "sgx_counting")
        pair.cloister("autostart", "web", "on", "--delay", "0")
        pid = a.domains()["web"]["pid"]
        attempt(pair, Way(pair, before=lambda kind, body: kind != VERDICT or not body))
        wait_until(lambda: pair.lives(a) == "in-doubt", "the doubt")
        a.kill()
        os.kill(pid, signal.SIGKILL)
        with open(filler, "wb", buffering=0) as file:
            for size in (4096, 64, 1):
                try:
                    while file.write(b"x" * size):
                        pass
                except OSError:
                    pass
        a.environment["CLOISTER_TEST_BOOT_ID"] = "boot-2"
        a.start()
        assert a.get("/v1/domains/web")["state"] == "in-doubt", a.get("/v1/domains/web")
        filler.unlink()
        pair.cloister("start", "web", status=FAILED)
        assert "'web' may run at" in pair.cloister.said and a.domains() == {}, pair.cloister.said
        a.restart()
        assert a.get("/v1/domains/web")["state"] == "in-doubt" and os.listdir(a.state / "domains") == []
        assert pair.lives(pair.b) == "running"
        for m in (a, pair.b):
            m.kill(signal.SIGTERM)
    finally:
        for m in places:
            m.close()
            subprocess.run(["umount", "-l", str(m.state)], check=True)
            m.start()  # to be ended as all are


CASES = {"migrate-defined-full": full, "migrate-defined-doubt": doubtful, "migrate-defined": life, "migrate-defined-refused": refused, "migrate-defined-owner": owner, "migrate-defined-kills": kills,
         "migrate-defined-cut": cut}
