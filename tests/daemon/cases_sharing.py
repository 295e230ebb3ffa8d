"""EPC that domains share: frames go to who uses them, and come back for who needs them; whatever dies meanwhile, every
frame is somebody's or free."""

import os
import random
import signal
import time

from machine import MIB_PAGES, PAGE, PATIENCE, wait_until

MACHINE = "[[package]]\nepc = [{ base = 0x1_0000_0000, size = 8 }]\n"


def paging(m, name):
    return m.domains()[name]["paging"]


def held_mib(m, name):
    return paging(m, name)["held_pages"] / MIB_PAGES


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
        m.create(name, epc=8, epc_min=1)
        m.wait_for_ready(name)
    for busy, idle in (("a", "b"), ("b", "a"), ("a", "b")):
        ask(m, idle, "pause")
        wait_until(lambda name=busy: held_mib(m, name) >= 6, f"{busy} to have what it uses")
        shown = paging(m, busy)
        assert shown["target_pages"] >= 6 * MIB_PAGES and shown["min_pages"] == MIB_PAGES, shown
        assert shown["loads"] > 0 and shown["evictions"] > 0 and shown["load_seconds"] > 0, shown
        assert paging(m, idle)["held_pages"] >= MIB_PAGES
        check_settled(m, "ab")
        for name in "ab":
            check_memory(m, name)
        ask(m, idle, "unpause")
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


def epc_sharing_kills(machine):
    """Frames move all the time; the daemon and VMMs are killed at any moment of it."""
    m = machine(MACHINE)
    chance = random.Random(int(os.environ.get("CLOISTER_SEED", "7")))
    seconds = 120 if m.settings.full else 25

    def begin(name):
        m.create(name, epc=8, epc_min=1)

    for name in "ab":
        begin(name)
    paused, kills = None, {"daemon": 0, "vmm": 0}
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if paused:
            ask(m, paused, "unpause")
        paused = chance.choice("ab")
        ask(m, paused, "pause")
        time.sleep(chance.uniform(0, 3))
        if chance.random() < 0.7:
            m.restart(chance.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGTERM)))
            kills["daemon"] += 1
        else:
            victim = chance.choice("ab")
            pid = m.domains()[victim]["pid"]
            if chance.random() < 0.5:
                m.kill()
                os.kill(pid, signal.SIGKILL)
                m.start()
            else:
                os.kill(pid, signal.SIGKILL)
            kills["vmm"] += 1
            wait_until(lambda name=victim: name not in m.domains(), f"the end of {victim}")
            begin(victim)
            if paused == victim:
                paused = None
        check_settled(m, "ab")
    assert kills["daemon"] and kills["vmm"], kills
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


CASES = {"epc-sharing": epc_sharing, "epc-sharing-kills": epc_sharing_kills}
