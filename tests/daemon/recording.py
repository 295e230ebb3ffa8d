"""A daemon whose file operations are recorded (recorder.cpp): what a power cut leaves at each step of a story (power_cut.py)
is given to a daemon after another boot; and the daemon is killed before and after each step of a request. What is found
then is the old or the new, whole, and nothing else."""

import json
import os
import re
import shutil
import signal
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import power_cut
from cases_death import Victim, reap_orphans_but
from machine import PATIENCE, Machine, some, wait_until


def record(m):
    """Before its start: its daemons are recorded, and its state is a folder that nobody has made yet."""
    m.steps, m.death = m.state.parent / "steps", m.state.parent / "death"
    m.steps.touch()
    m.death.touch()
    own_disk(m, "first")
    m.environment |= {"LD_PRELOAD": str(m.settings.recorder), "CLOISTER_RECORDER_LOG": str(m.steps),
                      "CLOISTER_RECORDER_FOLDERS": f"{m.disk}:{m.run}", "CLOISTER_RECORDER_DEATH": str(m.death)}


def own_disk(m, boot):
    m.disk = m.state.parent / "disk"
    m.disk.mkdir(mode=0o700)
    m.state = m.disk / "state"
    m.environment = {"CLOISTER_TEST_BOOT_ID": boot}


@dataclass(frozen=True)
class Kept:
    """What must not be lost."""
    next_id: int = 1
    withdrawn: tuple = ()
    secret: object = None  # None: any, since there was none
    wrap: object = None  # likewise
    keys: frozenset = frozenset()  # their files' names
    set_aside: tuple = ()
    definitions: frozenset = frozenset()  # as JSON
    ran: frozenset = frozenset()  # names of those that live, or did when the host was said to go down


def next_id_of(text):
    return json.loads(text)["next_id"] if text else 1


def kept(m):
    machine, aside = m.state / "machine.json", m.state / "set-aside"
    shown = [domain for domain in m.get("/v1/domains?all=true") if domain["persistent"]]
    assert set(os.listdir(m.state / "definitions")) == {f"{domain['uuid']}.json" for domain in shown}, shown
    noted = json.loads((m.state / "host.json").read_text())["ran"]
    return Kept(
        next_id_of(machine.read_bytes() if machine.exists() else None), tuple(m.get("/v1/epc")["withdrawn"]),
        (m.state / "platform-secret").read_bytes(), (m.state / "wrap-secret").read_bytes(),
        frozenset(os.listdir(m.state / "keys")), tuple(sorted(os.listdir(aside))) if aside.exists() else (),
        frozenset(json.dumps(m.get(f"/v1/domains/{domain['uuid']}/definition"), sort_keys=True) for domain in shown),
        frozenset(domain["name"] for domain in shown if domain["id"] or domain["uuid"] in noted))


def check_kept(found, choices, where, but=()):
    """Each part is that of one of them; of numbers that are given, any between; and no key of all of them is lost."""
    for part, value in vars(found).items():
        allowed = {getattr(one, part) for one in choices}
        if part == "keys":
            assert frozenset.intersection(*allowed) <= value, (where, part, value, allowed)
            continue
        if part == "next_id":
            allowed = range(min(allowed), max(allowed) + 1)
        assert part in but or value in allowed or None in allowed, (where, part, value, allowed)


def wait_for_autostart(m):
    autostart = wait_until(lambda: (a := m.get("/v1/host")["autostart"])["pending"] == [] and a, "the domains to be started")
    assert autostart["failed"] == [], autostart


def come_back(definitions, ran):
    """With the host."""
    found = {definition["name"]: definition["autostart"] for definition in map(json.loads, definitions)}
    return {name for name, word in found.items() if word == "on" or (word == "last" and name in ran)}


# ---- power cuts

@dataclass
class State:
    tree: dict
    choices: list = field(default_factory=list)  # a cut at each of these steps leaves it: (where, what may be found)


class Story:
    """What is done to a machine whose daemons are recorded, and what a cut can leave of it."""

    def __init__(self, m: Machine, before=Kept()):
        self.m, self.states, self.prefixes = m, {}, 0
        self.found_changed(before)

    def found_changed(self, before):
        """By others than a daemon; the next daemon finds this."""
        self.before, self.disk, self.read = before, power_cut.Disk.of(self.m.disk), self.m.steps.stat().st_size

    def act(self, name, action):
        """Once it is done, a cut leaves what is there then; meanwhile, that or what was there before."""
        action()
        after = kept(self.m)
        lines = [line for line in power_cut.read_lines(self.m.steps, self.read) if line.what in power_cut.STEPS]
        self.read = self.m.steps.stat().st_size
        self.look(f"before {name}", [self.before])
        for number, line in enumerate(lines, 1):
            self.disk.apply(line)
            self.look(f"{name}, step {number} of {len(lines)}: {line.what} {line.path} {line.other}", [self.before, after])
        self.look(f"after {name}", [after])
        assert self.disk.contents() == power_cut.tree_of(self.m.disk), (name, "there are changes that were not recorded")
        self.before = after

    def look(self, where, choices):
        self.prefixes += 1
        for tree in self.disk.after_a_cut():
            state = self.states.setdefault(power_cut.digest(tree), State(tree))
            if not state.choices or state.choices[-1][1] != choices:
                state.choices.append((where, choices))


def start_on(m, tree):
    """A daemon after a power cut. Returns the events of which somebody should know."""
    m.close()
    for folder in (m.disk, m.run):
        shutil.rmtree(folder, ignore_errors=True)
    m.disk.mkdir(mode=0o700)
    power_cut.write_tree(tree, m.disk)
    seen = m.log.stat().st_size
    m.start()
    return set(re.findall(r"level=(?:error|warning) program=cloisterd event=([\w-]+)", m.log.read_text()[seen:]))


def check_after_cut(m, state):
    events = start_on(m, state.tree)
    wait_for_autostart(m)
    found = replace(kept(m), next_id=next_id_of(state.tree.get(Path("state/machine.json"))))
    domains = m.domains()
    for where, choices in state.choices:
        check_kept(found, choices, where, but=("ran",))
        expected = [come_back(found.definitions, one.ran) for one in choices]
        assert set(domains) in expected, (where, sorted(domains), expected)
    shutil.rmtree(m.state / "set-aside", ignore_errors=True)
    m.check_settled(domains)
    assert len(m.vmms()) == len(domains)
    return events


def try_cuts(machine, description, story):
    """Returns the events that the daemons named."""
    begin, events = time.monotonic(), set()
    story.m.close()
    m = machine(description, lambda m: own_disk(m, "last"))
    for state in story.states.values():
        try:
            events |= check_after_cut(m, state)
        except AssertionError:
            print(f"{state.choices[0][0]}:", {str(path): data for path, data in state.tree.items()})
            raise
    print(f"{story.prefixes} prefixes, {len(story.states)} different folders, {time.monotonic() - begin:.0f} s")
    story.m.start()
    return events


# ---- deaths of the daemon

# Of a file that is written there is nothing between one step and the next: after the one is before the other.
IN_A_ROW = {("failed", "create"), ("create", "write"), ("write", "sync"), ("sync", "rename"), ("rename", "sync")}


@dataclass
class Operation:
    """One request, in the steps of which the daemon dies."""
    name: str
    method: str
    path: str
    body: object = lambda m: None
    prepare: object = lambda m: None


def clear(m):
    """All but the keeper."""
    for name in set(m.domains()) - {"keeper"}:
        answer = m.request("DELETE", f"/v1/domains/{name}")
        assert answer.status in (200, 404, 409), answer.body
    wait_until(lambda: set(m.domains()) == {"keeper"}, "the others to be gone")
    for domain in m.get("/v1/domains?all=true"):
        if domain["persistent"]:
            assert m.request("DELETE", f"/v1/domains/{domain['uuid']}/definition").status == 200, domain
    assert m.request("POST", "/v1/host/up").status == 200


def is_settled(m, choices):
    """One of these sets of domains lives, and there is nothing of any other."""
    domains = m.domains()
    if set(domains) not in choices or {d["state"] for d in domains.values()} - {"running", "paused", "created"}:
        return False
    try:
        m.check_settled(domains)
    except AssertionError:
        return False
    return sorted(m.vmms()) == sorted(d["pid"] for d in domains.values())


def try_deaths(m, operation):
    """Returns the numbers of steps and of deaths."""
    keeper = m.domains()["keeper"]

    def begin(death):
        operation.prepare(m)
        before = kept(m), set(m.domains())
        seen = m.steps.stat().st_size
        m.death.write_text(death)
        return before, seen, Victim(m, operation.method, operation.path, operation.body(m))

    # Without a death, for what it does.
    before, seen, victim = begin("before 1000000")
    status = victim.finish()
    assert status in (200, 201), (operation.name, status)
    after = kept(m), set(m.domains())
    numbers = after[0].next_id - before[0].next_id
    steps = [line for line in power_cut.read_lines(m.steps, seen) if line.what in power_cut.STEPS]
    m.death.write_text("")
    clear(m)
    deaths = [(f"{when} {number}", step) for number, (last, step) in enumerate(zip([None, *steps], steps), 1)
              for when in ("before", "after") if when == "after" or last is None or (last.what, step.what) not in IN_A_ROW]
    tried = some(deaths, len(deaths) // 2)
    for death, step in tried:
        what = f"{operation.name}, {death} of {len(steps)}: {step.what} {step.path}"
        before, seen, victim = begin(death)
        status = victim.finish()
        assert status is None, (what, status)
        assert m.process.wait(PATIENCE) == -signal.SIGKILL
        m.death.write_text("")
        m.start()
        wait_until(lambda: is_settled(m, (before[1], after[1])), what)
        # Numbers go on from one attempt to the next.
        check_kept(kept(m), (before[0], replace(after[0], next_id=before[0].next_id + numbers)), what)
        found = m.domains()["keeper"]
        assert (found["pid"], found["epc"], found["state"]) == (keeper["pid"], keeper["epc"], "running"), (what, found)
        clear(m)
        reap_orphans_but(m)
    return len(steps), len(tried)
