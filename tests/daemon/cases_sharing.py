"""EPC that domains share: frames go to who uses them, and come back for who needs them, or are given back by guests and
taken again; whatever dies meanwhile, every frame is somebody's or free."""

import json
import os
import random
import re
import signal
import subprocess
import time

from machine import MIB_PAGES, PAGE, PATIENCE, wait_until

MACHINE = "[[package]]\nepc = [{ base = 0x1_0000_0000, size = 8 }]\n"
PAGING = {"a": '"oss"', "b": '"trap"'}  # each domain's way


def paging(m, name):
    return m.domains()[name]["paging"]


def ask(m, name, verb):
    answer = m.request("POST", f"/v1/domains/{name}/{verb}")
    assert answer.status == 200, (name, verb, answer.body)


def host_memory(m, name):
    """Bytes that the domain's EPC and its EPCM take of the host's memory."""
    descriptors = m.descriptors(name)
    taken = [os.fstat(descriptor).st_blocks * 512 for descriptor in descriptors[1:]]
    for descriptor in descriptors:
        os.close(descriptor)
    return taken


def check_settled(m, names):
    """Frames move between one look and the next: they must be seen where they are once."""
    def settled():
        try:
            m.check_settled(names)
            return True
        except AssertionError:
            if set(m.domains()) != set(names):
                raise
            return False

    wait_until(settled, f"accounts of {names} that are balanced")


def check_memory(m, name):
    """Of both files no more than what the domain has: frames that it has not have no memory."""
    def bounded():
        extents = m.domains()[name]["epc"]
        pages = sum(extent["pages"] for extent in extents)
        groups = {frame // 64 for extent in extents for frame in range(extent["first"], extent["first"] + extent["pages"])}
        epc, epcm = host_memory(m, name)
        return epc <= pages * PAGE and epcm <= (1 + len(groups)) * PAGE

    wait_until(bounded, f"the memory of {name} to be bounded")


def epc_sharing(machine):
    """Of two domains that use all of their EPC who runs has the machine's, and gives it back to the other one; one that
    is started has its own of what was lent."""
    m = machine(MACHINE)
    for name in ("a", "b"):
        m.create(name, epc=8, epc_min=1, epc_paging=PAGING[name])
        m.wait_for_ready(name)
    for busy, idle in (("a", "b"), ("b", "a"), ("a", "b")):
        ask(m, idle, "pause")
        def has_it(name=busy):
            shown = paging(m, name)
            return shown if min(shown["held_pages"], shown["target_pages"]) >= 6 * MIB_PAGES else None

        shown = wait_until(has_it, f"{busy} to have, and to be meant to have, what it uses")
        assert shown["mode"] == PAGING[busy].strip('"') and shown["min_pages"] == MIB_PAGES, shown
        assert shown["loads"] > 0 and shown["evictions"] > 0 and shown["load_seconds"] > 0, shown
        assert balloon(m, busy) == {"target_pages": 8 * MIB_PAGES, "given_pages": 0, "lacking_pages": 0}, shown
        assert paging(m, idle)["held_pages"] >= MIB_PAGES
        check_settled(m, "ab")
        for name in "ab":
            check_memory(m, name)
        ask(m, idle, "unpause")
    # The command takes both at once, and no number is octal.
    command = [m.settings.programs / "cloister", "--run", m.run, "epc-set", "a", "--json", "--min", "02", "--weight", "0300"]
    said = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    assert (said["paging"]["min_pages"], said["paging"]["weight"]) == (2 * MIB_PAGES, 300), said
    # What a guest begins anew with is what it had.
    ask(m, "a", "reboot")
    wait_until(lambda: m.console("a").count(b"READY") == 2, "a to run again")
    # Nothing may be free for it at first.
    wait_until(lambda: m.get("/v1/epc")["free_pages"] < 2 * MIB_PAGES, "all to be lent")
    m.create("own", epc=3)
    m.wait_for_ready("own")
    assert sum(extent["pages"] for extent in m.domains()["own"]["epc"]) == 3 * MIB_PAGES
    check_settled(m, ["a", "b", "own"])
    refused = m.request("POST", "/v1/domains", m.creation("more", epc=4))
    assert refused.status == 507, refused.body
    for name in ("a", "own", "b"):
        m.destroy(name)
    m.check_settled([])
    assert m.get("/v1/epc")["free_pages"] == 8 * MIB_PAGES
    assert b"WRONG" not in m.log.read_bytes() and "event=epc-foreign" not in m.log.read_text()


TWO_PACKAGES = "".join(f"[[package]]\nepc = [{{ base = 0x{package}_0000_0000, size = 6 }}]\n" for package in (1, 2))


def epc_sharing_packages(machine):
    """Of each of two packages a domain has what others leave, and gives it back there. Whatever it touches, its neighbour
    has its minimum at any time."""
    m = machine(TWO_PACKAGES)

    def held_of(name, package):
        return sum(extent["pages"] for extent in m.domains()[name]["epc"] if extent["package"] == package) / MIB_PAGES

    m.create("wide", epc='["size=9,package=0", "size=3,package=1"]', epc_min=4)
    m.wait_for_ready("wide")
    wait_until(lambda: held_of("wide", 0) == 6 and held_of("wide", 1) == 3, "wide to have what it uses of both")
    check_memory(m, "wide")
    m.create("near", epc='["size=6,package=1"]', epc_min=4)
    assert held_of("near", 1) >= 4, "it has its minimum, also of what was lent"
    m.wait_for_ready("near")
    end = time.monotonic() + 5
    while time.monotonic() < end:
        assert held_of("near", 1) >= 4 and held_of("near", 0) == 0
        assert held_of("wide", 0) == 6, "nobody else wants that package's"
        assert 1 <= held_of("wide", 1) <= 2
        time.sleep(0.05)
    check_settled(m, ["wide", "near"])
    for name in ("wide", "near"):
        check_memory(m, name)
    answer = m.request("PATCH", "/v1/domains/near/epc", {"min_mib": 5})
    assert answer.status == 200, answer.body
    wait_until(lambda: held_of("near", 1) >= 5, "near to have its new minimum")
    answer = m.request("PATCH", "/v1/domains/wide/epc", {"min_mib": 8})
    assert answer.status == 507 and b"of package 1" in answer.body, answer.body
    for name in ("wide", "near"):
        assert b"WRONG" not in m.console(name)
        m.destroy(name)
    m.check_settled([])
    assert m.get("/v1/epc")["free_pages"] == 12 * MIB_PAGES
    assert "event=epc-foreign" not in m.log.read_text()


def kill_one(m, chance, kills, begin):
    """The daemon, and another begins; each third time a domain's process, with or without the daemon, and the domain begins
    anew: its name."""
    if sum(kills.values()) % 3 < 2:
        m.restart(chance.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGTERM)))
        kills["daemon"] += 1
        return None
    victim = chance.choice("ab")
    pid = m.domains()[victim]["pid"]
    if chance.random() < 0.5:
        m.kill()
        os.kill(pid, signal.SIGKILL)
        m.start()
    else:
        os.kill(pid, signal.SIGKILL)
    kills["vmm"] += 1
    wait_until(lambda: victim not in m.domains(), f"the end of {victim}")
    begin(victim)
    return victim


def epc_sharing_kills(machine):
    """Frames move all the time; the daemon and VMMs are killed at any moment of it."""
    m = machine(MACHINE)
    chance = random.Random(int(os.environ.get("CLOISTER_SEED", "7")))

    def begin(name):
        m.create(name, epc=8, epc_min=1, epc_paging=PAGING[name])

    for name in "ab":
        begin(name)
    paused, kills = None, {"daemon": 0, "vmm": 0}
    for _ in range(90 if m.settings.full else 9):
        if paused:
            ask(m, paused, "unpause")
        paused = chance.choice("ab")
        ask(m, paused, "pause")
        time.sleep(chance.uniform(0, 2))
        if kill_one(m, chance, kills, begin) == paused:
            paused = None
        check_settled(m, "ab")
    print(f"killed: {kills}")
    for name in "ab":
        if name != paused:
            check_memory(m, name)
    m.destroy("a")
    m.check_settled("b")
    m.destroy("b")
    m.check_settled([])
    assert m.get("/v1/epc")["free_pages"] == 8 * MIB_PAGES
    assert "event=epc-foreign" not in m.log.read_text()


def held_pages(m, name):
    return sum(extent["pages"] for extent in m.domains()[name]["epc"])


def ask_to_have(m, name, mib):
    answer = m.request("POST", f"/v1/domains/{name}/epc-target", {"mib": mib})
    assert answer.status == 200, (name, answer.body)


def balloon(m, name):
    return m.domains()[name]["balloon"]


def wait_to_have(m, name, mib):
    """Until its guest says so, and the accounts."""
    def has():
        said = re.findall(rb"HAS (\d+)\r?\n", m.console(name))
        return said and int(said[-1]) == mib * MIB_PAGES and held_pages(m, name) == mib * MIB_PAGES

    wait_until(has, f"{name} to have {mib} MiB")


def epc_balloon(machine):
    """Two domains that are not paged trade EPC; each has what the other one gave."""
    m = machine(MACHINE)
    kernel = "sgx_balloon_resident"
    m.create("a", epc=6, kernel=kernel)
    m.wait_for_ready("a")
    assert m.request("POST", "/v1/domains", m.creation("b", epc=6, kernel=kernel)).status == 507
    ask_to_have(m, "a", 2)
    wait_to_have(m, "a", 2)
    m.create("b", epc=6, kernel=kernel)
    m.wait_for_ready("b")
    # There is no frame for what it takes, until there is.
    ask_to_have(m, "a", 6)
    wait_until(lambda: b"LACKS" in m.console("a"), "a to be refused")
    lacking = {"target_pages": 6 * MIB_PAGES, "given_pages": 4 * MIB_PAGES, "lacking_pages": 4 * MIB_PAGES}
    assert balloon(m, "a") == lacking, balloon(m, "a")
    shown = {domain["name"]: domain for domain in m.get("/v1/epc/domains")}
    assert shown["a"]["balloon"] == lacking and shown["a"]["pages"] == 2 * MIB_PAGES, shown
    metrics = m.request("GET", "/metrics").body.decode()
    for what, pages in (("balloon_target", 6), ("given", 4), ("lacking", 4)):
        assert f'cloister_domain_epc_{what}_pages{{domain="a"}} {pages * MIB_PAGES}\n' in metrics, metrics
    for i in range(100 if m.settings.full else 6):
        less, more = "ba" if i % 2 == 0 else "ab"
        ask_to_have(m, less, 2)
        ask_to_have(m, more, 6)
        wait_to_have(m, less, 2)
        wait_to_have(m, more, 6)
        check_settled(m, "ab")
        for name in "ab":
            check_memory(m, name)
    # Of a guest that starts anew pages are missing while the other one has their frames.
    assert held_pages(m, "a") == 2 * MIB_PAGES
    ask(m, "a", "reboot")
    wait_until(lambda: m.console("a").count(b"READY") == 2, "a to run again")
    assert held_pages(m, "a") == 2 * MIB_PAGES
    missing = {"target_pages": 6 * MIB_PAGES, "given_pages": 0, "lacking_pages": 4 * MIB_PAGES}
    assert balloon(m, "a") == missing, balloon(m, "a")
    ask_to_have(m, "b", 2)
    wait_to_have(m, "b", 2)
    wait_until(lambda: held_pages(m, "a") == 6 * MIB_PAGES, "what was missing")
    # What is free comes before it runs.
    ask_to_have(m, "a", 2)
    wait_to_have(m, "a", 2)
    ask(m, "a", "reboot")
    wait_until(lambda: m.console("a").count(b"READY") == 3, "a to run once more")
    assert held_pages(m, "a") == 6 * MIB_PAGES
    for name in "ab":
        assert b"WRONG" not in m.console(name), m.console(name)
        m.destroy(name)
    m.check_settled([])
    assert m.get("/v1/epc")["free_pages"] == 8 * MIB_PAGES


def epc_balloon_kills(machine):
    """EPC is given and taken all the time; the daemon and VMMs are killed at any moment of it."""
    m = machine(MACHINE)
    chance = random.Random(int(os.environ.get("CLOISTER_SEED", "7")))

    def begin(name):
        m.create(name, epc=4, kernel="sgx_balloon_resident")

    begin("a")
    begin("b")
    kills = {"daemon": 0, "vmm": 0}
    for _ in range(100 if m.settings.full else 10):
        for name in "ab":
            ask_to_have(m, name, chance.randint(1, 4))
        time.sleep(chance.uniform(0, 1.5))
        kill_one(m, chance, kills, begin)
        check_settled(m, "ab")
    print(f"killed: {kills}")
    for name in "ab":
        m.wait_for_ready(name)
        # There is enough for both, whatever happened.
        ask_to_have(m, name, 4)
        wait_until(lambda name=name: held_pages(m, name) == 4 * MIB_PAGES, f"all of {name}'s")
        check_memory(m, name)
        assert b"WRONG" not in m.console(name), m.console(name)
    m.destroy("a")
    m.check_settled("b")
    m.destroy("b")
    m.check_settled([])
    assert m.get("/v1/epc")["free_pages"] == 8 * MIB_PAGES
    assert "event=epc-foreign" not in m.log.read_text()


def epc_beyond(machine):
    """Who takes memory for EPC that is not its own is ended: what its VMM could do is done here with its descriptors. Who
    is only looked at stays: the daemon looks at the neighbour's memory as often as at that of those who are ended."""
    m = machine(MACHINE)
    m.create("neighbour", epc=2)
    m.epc_contents("neighbour")
    for name, more in (("paged", {"epc": 4, "epc_min": 1}), ("still", {"epc": 1})):
        for file, at in ((1, 7 * MIB_PAGES * PAGE), (2, PAGE + 7 * MIB_PAGES * 64)):
            m.create(name, **more)
            m.wait_for_ready(name)
            descriptors = m.descriptors(name)
            os.pwrite(descriptors[file], b"x", at)
            wait_until(lambda name=name: name not in m.domains(), f"the end of {name}")
            for descriptor in descriptors:
                os.close(descriptor)
    assert m.log.read_text().count("event=epc-beyond") == 4
    assert "\ncloister_epc_beyond_total 4\n" in m.request("GET", "/metrics").body.decode()
    m.wait_for_ready("neighbour")
    m.check_settled(["neighbour"])


CASES = {"epc-beyond": epc_beyond, "epc-sharing": epc_sharing, "epc-sharing-packages": epc_sharing_packages,
         "epc-sharing-kills": epc_sharing_kills, "epc-balloon": epc_balloon, "epc-balloon-kills": epc_balloon_kills}
