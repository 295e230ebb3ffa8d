"""What a new daemon makes of what an earlier one left: domains out of reach, and records of other versions."""

import json
import os
import resource
import shutil
import signal
import subprocess

from machine import MIB_PAGES, wait_until

MACHINE = """
[[package]]
epc = [{ base = 0x1_0000_0000, size = 4 }]
"""


def records(m):
    """The records by the names of their domains."""
    texts = [path.read_text() for path in (m.state / "domains").iterdir()]
    return {record["name"]: record for record in map(json.loads, texts)}


def rewrite(m, name, change):
    """Has a record changed by a function, while no daemon runs."""
    record = records(m)[name]
    change(record)
    (m.state / "domains" / f"{record['id']}.json").write_text(json.dumps(record))


def first_version(record):
    """As it was before records had a version."""
    for member in ("version", "process", "run", "owner", "overhead_mib", "charged_mib", "uuid", "persistent",
                   "sgx_platform"):
        record.pop(member, None)


def vanished_run(machine):
    """The run folder is removed below living domains, while no daemon looks: they keep their frames, nobody else gets
    them, they can be ended, and are seen to end."""
    m = machine(MACHINE)
    before = {name: m.create(name, epc=2) for name in ("one", "two")}
    for name, domain in before.items():
        m.wait_for_ready(name)
        assert records(m)[name]["process"]["pid"] == domain["pid"], records(m)
    m.kill()
    shutil.rmtree(m.run)
    m.start()
    found = m.domains()
    assert {name: (d["pid"], d["epc"]) for name, d in found.items()} == \
        {name: (d["pid"], d["epc"]) for name, d in before.items()}, found
    assert {d["state"] for d in found.values()} == {"unresponsive"}, found
    assert m.check_accounts()["granted_pages"] == 4 * MIB_PAGES
    assert m.request("POST", "/v1/domains", m.creation("three")).status == 507
    answer = m.request("POST", "/v1/domains/one/pause")
    assert answer.status == 500 and "cannot be reached" in answer.json["error"]["message"], answer.body
    # One is ended on request, one by itself.
    m.destroy("one")
    os.kill(before["two"]["pid"], signal.SIGKILL)
    wait_until(lambda: m.domains() == {}, "the end of both")
    assert m.vmms() == []
    m.create("three", epc=4)
    m.check_settled(["three"])


def other_run(machine):
    """A daemon on the same state with another run folder has the same domains, with all that belongs to them."""
    m = machine(MACHINE)
    before = m.create("one", epc=2)
    m.wait_for_ready("one")
    m.kill()
    first_run, m.run = m.run, m.run.with_name("run2")
    m.start()
    found = m.domains()["one"]
    for key in ("id", "pid", "epc", "console"):
        assert found[key] == before[key], (key, found)
    assert found["state"] == "running", found
    assert b"x" in m.type_into("one", b"x")
    m.create("two", epc=2)
    m.restart()
    m.destroy("one")
    m.create("three", epc=2)
    m.check_settled(["two", "three"])
    assert os.listdir(first_run / "domains") == []


def unstarted(machine):
    """A record of a creation that its daemon did not live to end, whose process is still there: it is ended."""
    m = machine(MACHINE)
    pid = m.create("one", epc=2)["pid"]
    m.kill()
    rewrite(m, "one", lambda record: record.update(running=False))
    shutil.rmtree(m.run)
    m.start()
    assert m.domains() == {} and m.vmms() == [], (m.domains(), pid)
    m.create("two", epc=4)
    m.check_settled(["two"])


def old_records(machine):
    """Records without a version, as they were before there was one: domains are found by their sockets, and the
    records have their processes from then on."""
    m = machine(MACHINE)

    alive, dead = m.create("alive", epc=2), m.create("dead", epc=1)
    m.wait_for_ready("alive")
    m.kill()
    for name in ("alive", "dead"):
        rewrite(m, name, first_version)
    os.kill(dead["pid"], signal.SIGKILL)
    wait_until(lambda: m.vmms() == [alive["pid"]], "the death")
    m.start()
    found = m.domains()
    assert set(found) == {"alive"} and found["alive"]["state"] == "running", found
    assert found["alive"]["epc"] == alive["epc"] and found["alive"]["pid"] == alive["pid"], found
    assert records(m)["alive"]["version"] == 9 and records(m)["alive"]["process"]["pid"] == alive["pid"]
    m.check_settled(["alive"])

    # Without its socket nothing proves its death as long as there are such processes.
    m.kill()
    rewrite(m, "alive", first_version)
    shutil.rmtree(m.run)
    m.start()
    found = m.domains()["alive"]
    assert (found["state"], found["pid"], found["epc"]) == ("unresponsive", 0, alive["epc"]), found
    m.create("other", epc=2)
    assert m.request("POST", "/v1/domains", m.creation("more")).status == 507
    os.kill(alive["pid"], signal.SIGKILL)
    m.check_accounts()


def late_launch(machine):
    """Whether a VMM that was being launched lives cannot be told at first, and then it does: it is ended, and seen to
    end, though nothing else happens in the daemon."""
    m = machine(MACHINE)
    launched = m.create("launched", epc=2)
    m.wait_for_ready("launched")
    m.kill()
    rewrite(m, "launched", first_version)
    rewrite(m, "launched", lambda record: record.update(running=False))
    sockets, aside = m.run / "domains" / str(launched["id"]), m.run.parent / "aside"
    os.rename(sockets, aside)
    m.start()
    assert m.domains()["launched"]["pid"] == 0
    os.rename(aside, sockets)
    wait_until(lambda: m.domains() == {}, "the end of the launch")
    assert m.vmms() == []
    m.check_settled([])


def other_machine(machine):
    """Frames of a living domain that machine.toml does not have any more stay the domain's until it ends, those that it
    still has are nobody else's, and everything goes on; of a dead one they are forgotten."""
    m = machine(MACHINE)
    alive, dead = m.create("alive", epc=3), m.create("dead", epc=1)
    for name in ("alive", "dead"):
        m.wait_for_ready(name)
    first = alive["epc"][0]["first"]
    m.kill()
    os.kill(dead["pid"], signal.SIGKILL)
    wait_until(lambda: m.vmms() == [alive["pid"]], "the death")
    # The last 2 MiB of the domain, and 4 more.
    m.description.write_text(f"[[package]]\nepc = [{{ base = {(first + MIB_PAGES) * 4096:#x}, size = 6 }}]\n")
    check = subprocess.run([*m.command(), "--check"], capture_output=True, text=True)
    assert f"'alive' has {MIB_PAGES} frames that this machine does not have" in check.stdout, check.stdout
    assert check.returncode == 0, check
    m.start()
    found = m.domains()
    assert set(found) == {"alive"} and found["alive"]["epc"] == alive["epc"], found
    assert (found["alive"]["pid"], found["alive"]["state"]) == (alive["pid"], "running"), found
    assert f"event=frames-unknown domain=alive frames={MIB_PAGES}" in m.log.read_text()
    assert m.check_accounts()["granted_pages"] == 2 * MIB_PAGES
    for path in ("/v1/epc/map", "/v1/epc/domains", "/v1/domains/alive/policy", "/metrics"):
        assert m.request("GET", path).status == 200, path
    assert m.request("POST", "/v1/domains", m.creation("more", epc=5)).status == 507
    m.create("more", epc=4)
    assert b"x" in m.type_into("alive", b"x")
    m.destroy("more")
    # No section at all.
    m.kill()
    m.description.write_text("[[package]]\nepc = [{ base = 0x8000_0000_00, size = 1 }]\n")
    m.start()
    assert m.domains()["alive"]["epc"] == alive["epc"] and m.check_accounts()["granted_pages"] == 0
    m.create("more", epc=1)
    m.destroy("alive")
    m.check_settled(["more"])


def checked_first(machine):
    """A machine's description is checked before there is a state folder."""
    m = machine(MACHINE)
    m.kill()
    m.state = m.state.parent / "none-yet"
    right = subprocess.run([*m.command(), "--check"], capture_output=True, text=True)
    assert right.returncode == 0 and "not there: a start makes it" in right.stdout, right
    m.description.write_text("[overcommit]\nchunk = 0\n[[package]]\nepc = [{ size = 16 }]\n")
    wrong = subprocess.run([*m.command(), "--check"], capture_output=True, text=True)
    assert wrong.returncode == 1 and f"{m.description}:2:9: 'chunk': found 0" in wrong.stdout, wrong
    assert not m.state.exists()
    m.state = m.state.parent / "state"
    m.description.write_text(MACHINE)
    m.start()


def claimed_twice(machine):
    """Of frames that two living domains' records have, none is granted to a third until the doubt has ended."""
    m = machine(MACHINE)
    for name in ("one", "two"):
        m.create(name, epc=1)
        m.wait_for_ready(name)
    m.kill()
    grants = records(m)["one"]["grants"]
    rewrite(m, "two", lambda record: record.update(grants=grants))
    check = subprocess.run([*m.command(), "--check"], capture_output=True, text=True)
    assert check.returncode == 1 and "'two' has frames that are another's" in check.stdout, check
    m.start()
    assert set(m.domains()) == {"one", "two"}, m.domains()
    m.destroy("one")
    answer = m.request("POST", "/v1/domains", m.creation("more"))
    assert answer.status == 503 and "while 'two' lives" in answer.json["error"]["message"], answer.body
    m.create("without", epc=0)
    m.destroy("two")
    m.create("more", epc=4)
    m.check_settled(["without", "more"])


def charges(machine):
    """A domain is accounted for with the same memory, whatever can be read of its record."""
    m = machine(MACHINE)

    def held():
        return m.get("/v1/host")["domain_memory"]["held_mib"]

    for name, memory in (("one", 96), ("two", 200), ("three", 64)):
        text = m.creation(name)["config"].replace("memory = 64", f"memory = {memory}")
        assert m.request("POST", "/v1/domains", {"config": text, "file": "x"}).status == 201
        m.wait_for_ready(name)
    before = held()
    m.kill()
    rewrite(m, "one", lambda record: record.update(config="memory = ?"))
    rewrite(m, "two", lambda record: record.pop("package"))
    # As a daemon of before wrote it.
    rewrite(m, "three", lambda record: (record.pop("charged_mib"), record.update(version=3)))
    m.start()
    assert set(m.domains()) == {"one", "two", "three"}, m.domains()
    assert held() == before, (held(), before)
    for name in ("one", "two", "three"):
        m.destroy(name)
    assert held() == 0


def few_descriptors(machine):
    """A daemon without descriptors for all that it finds takes no living domain for dead."""
    m = machine(MACHINE)
    before = {name: m.create(name, epc=1) for name in ("one", "two", "three")}
    for name in before:
        m.wait_for_ready(name)
    m.kill()
    outcomes = set()

    def start_with(limit):
        def lower():
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))

        with open(m.log, "ab") as log:
            process = subprocess.Popen(m.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=lower)
        size = m.log.stat().st_size

        def settled():
            return process.poll() is not None or b"event=ready" in m.log.read_bytes()[size:]

        wait_until(settled, "cloisterd to be ready, or to give up")
        outcomes.add("gave-up" if process.poll() is not None else "ready")
        if process.poll() is None:
            process.kill()
        process.wait()

    for limit in range(5, 47, 3):
        start_with(limit)
        kept = {name: (r["process"]["pid"], r["running"]) for name, r in records(m).items()}
        assert kept == {name: (d["pid"], True) for name, d in before.items()}, (limit, kept)
    assert outcomes == {"gave-up", "ready"}, outcomes
    # Records of old, whose domains are found by connecting twice: at one of these limits the second fails.
    for limit in range(10, 30):
        for name in before:
            rewrite(m, name, first_version)
        start_with(limit)
        assert set(records(m)) == set(before), (limit, records(m))
    assert b"event=domain-out-of-reach" in m.log.read_bytes()
    m.start()
    found = m.domains()
    assert {name: (d["pid"], d["epc"], d["state"]) for name, d in found.items()} == \
        {name: (d["pid"], d["epc"], "running") for name, d in before.items()}, found
    m.check_settled(before)


def low_limit(machine):
    """Descriptors are taken from the lowest on: a low limit of their number is enough for a domain."""
    m = machine()
    resource.prlimit(m.process.pid, resource.RLIMIT_NOFILE, (64, 64))
    m.create("one")
    m.wait_for_ready("one")
    m.destroy("one")


CASES = {"vanished-run": vanished_run, "other-run": other_run, "unstarted": unstarted, "old-records": old_records, "late-launch": late_launch,
         "few-descriptors": few_descriptors, "other-machine": other_machine, "checked-first": checked_first, "claimed-twice": claimed_twice,
         "charges": charges, "low-limit": low_limit}
