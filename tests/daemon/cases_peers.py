"""To whom enclaves may go: to machines alone that machine.toml names, and that prove that they are those."""

import subprocess

from cases_migration import ANSWER, OFFER, ROOM, Pair, Way
from cases_persist import FAILED, Cloister
from machine import PATIENCE, wait_until

PROOF = 10


def key_of(m):
    return m.get("/v1/host")["machine_key"]


def name_peers(m, **keys):
    """By name; the daemon reads them when it starts."""
    lines = ", ".join(f'{{ name = "{name}", key = "{key}" }}' for name, key in keys.items())
    m.description.write_text(f"[migration]\npeers = [{lines}]\n{ROOM}")
    m.restart()


def proved(m):
    return [line for line in m.log.read_text().splitlines() if " event=peer-proved" in line]


def not_proved(m):
    return [line for line in m.log.read_text().splitlines() if " event=peer-not-proved" in line]


def machine_key(machine):
    """It is made once, printed by `host --key`, and missed when it is lost."""
    m = machine()
    cloister = Cloister(m)
    key = key_of(m)
    assert cloister("host", "--key").decode() == key + "\n"
    assert key in cloister("host").decode()
    path = m.state / "machine-key"
    assert path.stat().st_mode & 0o7777 == 0o600 and len(path.read_bytes()) == 32
    assert (m.state / "machine-key.pub").read_text() == key + "\n"
    m.restart()
    assert key_of(m) == key
    m.kill()

    def refused(why, *options):
        for more in ((), ("--check",)):
            done = subprocess.run([*m.command(), *options, *more], capture_output=True, text=True, timeout=PATIENCE)
            assert done.returncode == 1 and why in done.stdout + done.stderr, done

    refused("machine-key: it is there", "--new-machine-key")
    kept = path.read_bytes()
    path.unlink()
    refused("machine-key: it is missing")
    process = subprocess.Popen([*m.command(), "--new-machine-key"], stderr=subprocess.DEVNULL)
    noted = m.state / "machine-key.pub"
    wait_until(lambda: path.exists() and noted.exists() and noted.read_text() not in ("", key + "\n"), "a new key")
    process.terminate()
    process.wait()
    assert path.read_bytes() != kept
    path.write_bytes(kept)
    refused("machine-key: found the key ")
    (m.state / "machine-key.pub").unlink()
    m.start()
    assert key_of(m) == key
    # Another daemon is another machine.
    assert key_of(machine()) != key


def peers(machine):
    """Each side must name the other; who lacks a line is told which one, and nothing of the domain has gone."""
    pair = Pair(machine)
    a, b = pair.a, pair.b
    here, there = key_of(a), key_of(b)
    pair.ready()
    assert b.domains() == {}

    def refused(*why):
        for words in (("--dry-run",), ()):
            pair.migrate("--enclaves=keep", *words, status=FAILED)
            for one in why:
                assert one in pair.cloister.said, (one, pair.cloister.said)
        assert pair.lives(a) == "running" and a.request("GET", "/v1/domains/web/migration").status == 404
        wait_until(lambda: not b.domains(), "nothing that has come")
        b.check_settled([])

    receiver = pair.receive()
    pair.cloister("migrate", "web", f"unix:{pair.socket}", "--enclaves=keep", status=FAILED)
    assert "'peers' in its [migration] is missing" in pair.cloister.said and "--enclaves=lose" in pair.cloister.said
    receiver.kill()
    receiver.wait()
    stranger = key_of(machine())
    name_peers(a, stranger=stranger)
    refused(here, "its source", "host --key")
    # All that is missing, on both sides, if nothing is to be sent.
    pair.migrate("--enclaves=keep", "--dry-run", status=FAILED)
    assert here in pair.cloister.said and there in pair.cloister.said, pair.cloister.said
    name_peers(b, source=here)
    # The target has nothing to hide: what it answers says who it is.
    refused(there, "its target", "host --key")
    assert not_proved(a) and not proved(a) and not proved(b)
    name_peers(a, target=there)
    pair.migrate("--enclaves=keep", "--dry-run")
    pair.migrate("--enclaves=keep")
    assert "with its enclaves" in pair.cloister.said and pair.lives(b) == "running", pair.cloister.said
    assert "peer=target" in proved(a)[-1] and "peer=source" in proved(b)[-1]
    b.destroy("web")
    pair.ready()
    # Without them it goes to anybody, as before.
    name_peers(a, stranger=stranger)
    pair.migrate("--enclaves=lose")
    assert pair.lives(b) == "running"
    b.destroy("web")
    a.check_settled([])
    b.check_settled([])


def carriers(machine):
    """Whoever carries the domain changes, keeps and repeats what the machines say: then none believes the other."""
    pair = Pair(machine)
    a, b = pair.a, pair.b
    name_peers(b, source=key_of(a))
    name_peers(a, target=key_of(b))
    pair.ready()
    heard = {}

    def changed(kind, at):
        """One digit of it is another one."""

        def before(found, body):
            heard.setdefault(found, body)
            if found != kind:
                return True
            word = {OFFER: b'"hello":"', ANSWER: b'"answer":"', PROOF: b'"proof":"'}[kind]
            place = body.index(word) + len(word) + at
            digit = body[place:place + 1]
            return body[:place] + (b"1" if digit == b"0" else b"0") + body[place + 1:]

        return before

    def fails(before):
        count = len(proved(b))
        receiver = pair.receive()
        way = Way(pair, before)
        source = subprocess.Popen(pair.cloister.command("migrate", "web", f"unix:{way.path}", "--enclaves=keep"),
                                  stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        said = source.communicate(timeout=4 * PATIENCE)[0].decode()
        way.finish()
        receiver.communicate(timeout=4 * PATIENCE)
        assert source.returncode == FAILED and len(proved(b)) == count, (said, b.log.read_text()[-2000:])
        wait_until(lambda: not b.domains(), "nothing that has come")
        b.check_settled([])
        wait_until(lambda: pair.lives(a) == "running", "its going on")
        return said

    for kind, places in ((OFFER, (3, 70)), (ANSWER, (3, 70, 130, 200, 260, 400)), (PROOF, (3, 70, 130, 300))):
        for at in places:
            said = fails(changed(kind, at))
            # Of a proof the target alone knows that it is wrong; the source has gone on.
            words = {ANSWER: said, PROOF: not_proved(b)[-1] if kind == PROOF else ""}.get(kind)
            assert words is None or any(why in words for why in (
                "something was changed on the way", "lacks ed25519:", "no secret in common")), words
    # What was said in an earlier move.
    for kind in (OFFER, ANSWER, PROOF):
        assert fails(lambda found, body: heard[kind] if found == kind else True)
    # A proof is judged once, and an answer too.
    offer = a.request("POST", "/v1/domains/web/migration/offer", {"enclaves": "keep"})
    assert offer.status == 200 and len(offer.json["hello"]) == 130
    wrong = {"session": "0" * 32, "answer": "0" * 448}
    for status, why in ((409, "lacks ed25519:"), (409, "it was not offered with its enclaves")):
        answer = a.request("POST", "/v1/domains/web/migration/proof", wrong)
        assert answer.status == status and why in answer.json["error"]["message"], answer.body
    answer = b.request("PUT", f"/v1/migrations/{'0' * 32}/proof", {"proof": "0" * 320})
    assert answer.status == 404, answer.body
    answer = a.request("POST", "/v1/domains/web/migration/offer", {"enclaves": "sell"})
    assert answer.status == 400, answer.body
    a.destroy("web")
    a.check_settled([])


CASES = {"machine-key": machine_key, "peers": peers, "peers-carriers": carriers}
