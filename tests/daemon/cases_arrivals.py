"""Domains that arrive: who may end one, what becomes of it when its carrier goes, and to whom nothing is sent."""

import json
import os
import stat
import subprocess
import unittest

from cases_live_enclaves import Peers
from cases_live_enclaves import goes_on as counts_on
from cases_migration import COMMIT, PIECE, Pair, Way, attempt, goes_on
from cases_owner import GROUP, MEMBER, SUPPLEMENTARY, Member, as_user
from cases_persist import FAILED
from machine import PATIENCE, domain_config, wait_until

PROOF = 10


def destroyed(machine):
    """One that waits for its verdict is destroyed: it never runs there, and goes on here."""
    for kind, well in ((Pair, goes_on), (Peers, counts_on)):
        pair = kind(machine)
        pair.ready()
        seen = []

        def before(kind, body):
            if kind == COMMIT:
                seen.append(pair.lives(pair.b))
                answer = pair.b.request("DELETE", "/v1/domains/web")
                assert answer.status == 200, answer.body
            return True

        assert attempt(pair, Way(pair, before)) != 0, pair.said
        assert seen == ["arriving"] and "web goes on here" in pair.said, (seen, pair.said)
        assert pair.lives(pair.a) == "running" and not pair.b.domains()
        pair.b.check_settled([])
        well(pair.a)
        # And may come another time.
        assert attempt(pair, Way(pair)) == 0, pair.said
        well(pair.b)
        pair.b.destroy("web")


def carrier(machine):
    """Whoever brings it goes while it loads: nothing of it is left there, and it goes on here."""
    for kind, well, moments in ((Pair, goes_on, (PIECE,)), (Peers, counts_on, (PROOF, PIECE))):
        pair = kind(machine)
        pair.ready()
        for moment in moments:
            pieces = []

            def before(kind, body):
                pieces.append(kind)
                if kind == moment and (kind != PIECE or pieces.count(PIECE) == 2):
                    wait_until(lambda: pair.lives(pair.b) is not None, "its beginning")
                    pair.receiver.kill()
                    pair.receiver.wait(PATIENCE)
                    return False
                return True

            assert attempt(pair, Way(pair, before)) != 0, pair.said
            wait_until(lambda: not pair.b.domains(), "the end of what does not come")
            pair.b.check_settled([])
            wait_until(lambda: pair.lives(pair.a) == "running", "that it goes on")
            well(pair.a)
        assert attempt(pair, Way(pair)) == 0, pair.said
        pair.b.destroy("web")


def asked(m, path):
    answer = m.request("DELETE", path)
    return [answer.status, answer.body.decode()]


def others(machine):
    """Another user says of no verdict that its source is gone for ever, nor does who received it; and nobody's guest goes to
    who listens where anybody could."""
    if os.geteuid() != 0:
        raise unittest.SkipTest("only root can be several users")
    pair = Pair(machine)
    member = Member(pair.b)
    kernel = member.copy("web.elf", pair.a.kernel("ends"))
    answer = pair.a.request("POST", "/v1/domains", {"config": domain_config("web", kernel), "file": "web.cfg"})
    assert answer.status == 201, answer.body
    pair.a.wait_for_ready("web")
    folder = pair.b.state / "migrations"
    folder.mkdir(mode=0o700, exist_ok=True)
    file = folder / f"{7:032x}"
    file.write_text(json.dumps({"verdict": "commit", "paused": False, "uuid": "u", "name": "n", "user": MEMBER, "done": "0" * 64}))
    file.chmod(0o600)
    for user in (MEMBER + 7, MEMBER):
        status, said = as_user(user, GROUP, [], lambda: asked(pair.b, f"/v1/migrations/{file.name}?source=gone"))
        assert status == 403 and "only root and the daemon's own user" in said and file.exists(), (user, said)
    answer = pair.b.request("DELETE", f"/v1/migrations/{file.name}?source=gone")
    assert answer.status == 200 and not file.exists(), answer.body
    # A folder like /tmp, and one that is the receiver's own, first with others' right to write.
    shared, own = pair.b.state.parent / "shared", pair.b.state.parent / "own"
    for place, mode, uid in ((shared, 0o1777, 0), (own, 0o777, MEMBER), (own, 0o775, MEMBER), (own, 0o755, MEMBER)):
        place.mkdir(exist_ok=True)
        os.chown(place, uid, GROUP)
        place.chmod(mode)
        assert stat.S_IMODE(place.stat().st_mode) == mode
        way = place / "way"
        way.unlink(missing_ok=True)
        receiver = subprocess.Popen(pair.other.command("receive", f"unix:{way}"), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                    stderr=subprocess.STDOUT, cwd=place, user=MEMBER, group=GROUP, extra_groups=[SUPPLEMENTARY])
        wait_until(lambda: way.exists() or receiver.poll() is not None, "the receiver's socket")
        if mode == 0o755:
            pair.cloister("migrate", "web", f"unix:{way}", *pair.words)
            receiver.communicate(timeout=PATIENCE)
            continue
        pair.cloister("migrate", "web", f"unix:{way}", *pair.words, status=FAILED)
        receiver.kill()
        receiver.communicate(timeout=PATIENCE)
        assert f"user {MEMBER} receives there, in a folder that is not theirs alone" in pair.cloister.said, pair.cloister.said
        assert pair.lives(pair.a) == "running" and not pair.b.domains()
    assert pair.b.domains()["web"]["owner"]["uid"] == MEMBER
    pair.b.destroy("web")


CASES = {"migrate-arrival-destroyed": destroyed, "migrate-arrival-carrier": carrier, "migrate-arrival-others": others}
