"""Power cuts, and deaths of the daemon at every step (recording.py)."""

import json
import time
from dataclasses import replace

from machine import domain_config, wait_until
from recording import Operation, Story, kept, record, try_cuts, try_deaths, wait_for_autostart

MACHINE = """
[[package]]
epc = [{ base = 0x1_0000_0000, size = 8 }]
"""
# The first pages cannot be cleaned.
FAULTY = MACHINE.replace("size = 8", "size = 8, faulty = [3, 200]")


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

    m = machine(FAULTY, prepare)
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
    events = try_cuts(machine, FAULTY, story)
    assert events == {"domain-lost", "record-unread", "record-set-aside"}, events


def text_of(m, name, memory=64, **more):
    return domain_config(name, m.kernel("resident"), **more).replace("memory = 64", f"memory = {memory}")


def ask(m, method, path, body=None, headers=None):
    answer = m.request(method, path, body, headers)
    assert answer.status in (200, 201), (method, path, answer.status, answer.body)
    return answer


def power_cuts_defined(machine):
    """From the first start of a version that knows definitions and keys on: domains that are defined, edited, started, ended, renamed
    and undefined, autostart words, a host that goes down, and one that comes up."""
    m = machine(MACHINE, record)
    before = kept(m)
    m.kill()
    (m.state / "definitions").rmdir()
    (m.state / "host.json").unlink()
    (m.state / "keys").rmdir()
    (m.state / "wrap-secret").unlink()
    story = Story(m, replace(before, wrap=None))

    def define(name, memory, **headers):
        return ask(m, "PUT", f"/v1/domains/{name}", {"config": text_of(m, name, memory), "file": f"{name}.cfg"}, headers)

    def edit():
        define("web", 48, **{"If-Match": ask(m, "GET", "/v1/domains/web/definition").headers["ETag"]})

    def boot():
        m.environment["CLOISTER_TEST_BOOT_ID"] = "second"
        m.start()
        wait_for_autostart(m)

    story.act("the first start of this version", m.start)
    story.act("definition", lambda: define("web", 64))
    story.act("autostart on", lambda: ask(m, "PATCH", "/v1/domains/web", {"autostart": "on", "order": 1}))
    story.act("edit", edit)
    story.act("start", lambda: ask(m, "POST", "/v1/domains/web/start", {"paused": True}))
    story.act("another definition", lambda: define("db", 64))
    story.act("autostart last", lambda: ask(m, "PATCH", "/v1/domains/db", {"autostart": "last"}))
    story.act("another start", lambda: ask(m, "POST", "/v1/domains/db/start"))
    story.act("another daemon", m.restart)
    story.act("definition and start", lambda: ask(m, "POST", "/v1/domains", {**m.creation("dns", paused=True), "persist": True}))
    story.act("end", lambda: m.destroy("dns"))
    story.act("renaming", lambda: ask(m, "PATCH", "/v1/domains/dns", {"name": "ns"}))
    story.act("undefinition", lambda: ask(m, "DELETE", "/v1/domains/ns/definition"))
    story.act("end of the host", lambda: ask(m, "POST", "/v1/host/down"))
    story.act("end with the host", lambda: m.destroy("db"))
    m.close()
    # One that a newer daemon defined.
    template = json.loads(next((m.state / "definitions").iterdir()).read_text())
    newer = m.state / "definitions" / "00000000-0000-4000-8000-000000000000.json"
    newer.write_text(json.dumps({**template, "version": 1000}))
    newer.chmod(0o600)
    story.found_changed(replace(story.before, set_aside=(newer.name,)))
    story.act("another boot", boot)
    assert set(m.domains()) == {"web", "db"}
    story.act("the host is up", lambda: ask(m, "POST", "/v1/host/up"))
    events = try_cuts(machine, MACHINE, story)
    assert events == {"domain-lost", "definition-set-aside"}, events


UUID = "6d1b8f5c-3c44-4d7b-9d0e-2b8a4f6c1e70"


def create_web(m):
    m.create("web", paused=True)


def definition(m, memory=64):
    return {"config": text_of(m, "web", memory, uuid=f'"{UUID}"'), "file": "web.cfg"}


def define_web(m):
    ask(m, "PUT", "/v1/domains/web", definition(m))


def start_web(m):
    define_web(m)
    ask(m, "POST", "/v1/domains/web/start", {"paused": True})


OPERATIONS = (
    Operation("creation", "POST", "/v1/domains", lambda m: m.creation("web", paused=True)),
    Operation("renaming", "PATCH", "/v1/domains/web", lambda m: {"name": "www"}, create_web),
    Operation("end", "DELETE", "/v1/domains/web", prepare=create_web),
)
OPERATIONS_DEFINED = (
    Operation("definition", "PUT", "/v1/domains/web", definition),
    Operation("edit", "PUT", "/v1/domains/web", lambda m: definition(m, 48), define_web),
    Operation("autostart", "PATCH", "/v1/domains/web", lambda m: {"autostart": "on"}, define_web),
    Operation("renaming", "PATCH", "/v1/domains/web", lambda m: {"name": "www"}, define_web),
    Operation("start", "POST", "/v1/domains/web/start", lambda m: {"paused": True}, define_web),
    Operation("end", "DELETE", "/v1/domains/web", prepare=start_web),
    Operation("undefinition", "DELETE", "/v1/domains/web/definition", prepare=define_web),
    Operation("end of the host", "POST", "/v1/host/down", prepare=start_web),
    Operation("definition and start", "POST", "/v1/domains", lambda m: {**definition(m), "paused": True, "persist": True}),
)


def try_operations(machine, operations):
    m = machine(prepare=record)
    m.create("keeper")
    m.wait_for_ready("keeper")
    begin = time.monotonic()
    for operation in operations:
        steps, deaths = try_deaths(m, operation)
        print(f"{operation.name}: {steps} steps, {deaths} deaths")
    print(f"{time.monotonic() - begin:.0f} s")


def step_deaths(machine):
    """The daemon is killed between any two steps of each operation, at its files, its sockets and its programs; the next
    one, under the same boot, finds what runs, and undoes what does not."""
    try_operations(machine, OPERATIONS)


def step_deaths_defined(machine):
    """The same with domains that persist; none is started because of it."""
    try_operations(machine, OPERATIONS_DEFINED)


CASES = {"power-cuts": power_cuts, "power-cuts-defined": power_cuts_defined, "step-deaths": step_deaths,
         "step-deaths-defined": step_deaths_defined}
