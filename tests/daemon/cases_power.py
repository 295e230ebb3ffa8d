"""Power cuts, and deaths of the daemon at every step (recording.py)."""

import json
import time
from dataclasses import replace

from machine import wait_until
from recording import Operation, Story, record, try_cuts, try_deaths

# The first pages cannot be cleaned.
MACHINE = """
[[package]]
epc = [{ base = 0x1_0000_0000, size = 8, faulty = [3, 200] }]
"""


def power_cuts(machine):
    """From the first start on: domains that are created, renamed and ended, frames that are withdrawn, a daemon that finds
    its domains, and one that finds them dead after a cut."""
    story = None

    def prepare(m):
        nonlocal story
        record(m)
        story = Story(m)

    def withdraw():
        m.create("faulty")
        wait_until(lambda: m.domains() == {}, "its end")

    def boot():
        m.environment["CLOISTER_TEST_BOOT_ID"] = "second"
        m.start()

    m = machine(MACHINE, prepare)
    story.act("the first start", lambda: None)
    story.act("withdrawal", withdraw)
    assert len(story.before.withdrawn) == 3, story.before
    story.act("creation", lambda: m.create("web"))
    story.act("renaming", lambda: m.request("PATCH", "/v1/domains/web", {"name": "www"}))
    assert set(m.domains()) == {"www"}
    story.act("another daemon", m.restart)
    story.act("another creation", lambda: m.create("db"))
    story.act("end", lambda: m.destroy("www"))
    story.act("one more creation", lambda: m.create("dns"))
    # Of two that die with the host, the one record is a newer daemon's.
    path = m.state / "domains" / f"{m.domains()['db']['id']}.json"
    m.close()
    path.write_text(json.dumps({**json.loads(path.read_text()), "version": 1000}))
    story.found_changed(replace(story.before, set_aside=(path.name,)))
    story.act("another boot", boot)
    assert m.domains() == {}
    events = try_cuts(machine, MACHINE, story)
    assert events == {"domain-lost", "record-unread", "record-set-aside"}, events


def create_web(m):
    m.create("web", paused=True)


OPERATIONS = (
    Operation("creation", "POST", "/v1/domains", lambda m: m.creation("web", paused=True)),
    Operation("renaming", "PATCH", "/v1/domains/web", lambda m: {"name": "www"}, create_web),
    Operation("end", "DELETE", "/v1/domains/web", prepare=create_web),
)


def step_deaths(machine):
    """The daemon is killed before and after each step of each operation, at its files, its sockets and its programs; the next
    one, under the same boot, finds what runs, and undoes what does not."""
    m = machine(prepare=record)
    m.create("keeper")
    m.wait_for_ready("keeper")
    begin = time.monotonic()
    steps = {operation.name: try_deaths(m, operation) for operation in OPERATIONS}
    print(f"{steps}: {2 * sum(steps.values())} deaths, {time.monotonic() - begin:.0f} s")


CASES = {"power-cuts": power_cuts, "step-deaths": step_deaths}
