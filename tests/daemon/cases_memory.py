"""The host's memory among domains: what each may come to take is accounted for, and measured."""

import re
from pathlib import Path

MACHINE = "memory_overcommit = {overcommit}\n[[package]]\nepc = [{{ base = 0x1_0000_0000, size = 8 }}]\n"


def total_mib():
    kib = re.search(r"MemTotal:\s+(\d+) kB", Path("/proc/meminfo").read_text())[1]
    return int(kib) // 1024


def admission(machine):
    """Domains get the host's memory times the overcommit, and no more; a refusal says who holds it."""
    # A part of the host, yet with room for two small domains.
    overcommit = max(0.1, round(1000 / total_mib(), 3))
    m = machine(MACHINE.format(overcommit=overcommit))
    first = m.create("first", epc=1, paused=True)
    assert first["overhead_mib"] > 0, first
    need = first["memory_mib"] + first["epc_mib"] + first["overhead_mib"]
    memory = m.get("/v1/host")["domain_memory"]
    assert memory["held_mib"] == need and memory["overcommit"] == overcommit, (need, memory)
    assert memory["total_mib"] == memory["held_mib"] + memory["free_mib"] <= total_mib() * overcommit + 1, memory
    # What fits exactly, and one MiB more. RAM costs a little more than itself.
    creation = m.creation("large", epc=0, paused=True)
    free = memory["free_mib"]
    tried = {}
    for ram in (free, 1 << 20):
        body = {**creation, "config": creation["config"].replace("memory = 64", f"memory = {ram}")}
        answer = m.request("POST", "/v1/domains", body)
        assert answer.status == 507, (ram, answer.status, answer.body)
        error = answer.json["error"]
        assert (error["line"], error["column"]) == (3, 10), error
        for words in (f"{ram} of RAM", f"{free} MiB are free of {memory['total_mib']}", f"first holds {need} MiB"):
            assert words in error["message"], (words, error)
        tried[ram] = error["message"]
    asked = int(re.search(r"asked for (\d+) MiB", tried[free])[1])
    fits = free - (asked - free)
    body = {**creation, "config": creation["config"].replace("memory = 64", f"memory = {fits}")}
    answer = m.request("POST", "/v1/domains", body)
    assert answer.status == 201, (fits, free, answer.body)
    m.check_settled(["first", "large"])
    held = m.get("/v1/host")["domain_memory"]["held_mib"]
    assert m.request("POST", "/v1/domains", m.creation("third", epc=0)).status == 507
    # A new daemon finds them with what they hold; an end gives it back.
    m.restart()
    assert m.get("/v1/host")["domain_memory"]["held_mib"] == held
    m.destroy("large")
    m.destroy("first")
    assert m.get("/v1/host")["domain_memory"]["held_mib"] == 0
    m.create("third", epc=0)


def beside_its_ram(pid, ram_mib):
    """MiB that a process has resident beside its guest's RAM and what it shares with the daemon (EPC)."""
    rest = 0
    for mapping in re.split(r"\n(?=[0-9a-f]+-[0-9a-f]+ )", Path(f"/proc/{pid}/smaps").read_text()):
        size, resident = (int(re.search(rf"^{key}:\s+(\d+) kB", mapping, re.M)[1]) for key in ("Size", "Rss"))
        if size != ram_mib * 1024 and "memfd:" not in mapping.splitlines()[0]:
            rest += resident
    return rest / 1024


def measured(machine):
    """A domain's process has no more beside its RAM than is accounted for, whatever number of processors it has."""
    m = machine(MACHINE.format(overcommit=4))
    for vcpus in (1, 4, 16):
        name = f"d{vcpus}"
        domain = m.create(name, epc=1, vcpus=vcpus)
        m.wait_for_ready(name)
        found = beside_its_ram(domain["pid"], domain["memory_mib"])
        print(f"{vcpus} vcpus: {found:.1f} MiB beside RAM and EPC, {domain['overhead_mib']} accounted for")
        assert 0 < found <= domain["overhead_mib"], (vcpus, found, domain)


CASES = {"memory-admission": admission, "memory-measured": measured}
