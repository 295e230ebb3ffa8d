"""Definitions in numbers: two clients that change the same ones at random, and a thousand of them."""

import os
import random
import threading
import time
from dataclasses import dataclass, field

import power_cut
from recording import record
from machine import domain_config, multiply_definitions
from serial import Event, unexplained

NAMES = ("a", "b", "c")
REQUESTS = 500  # of each client
KINDS = {"define": 4, "edit": 4, "new": 2, "look": 4, "start": 2, "destroy": 2, "undefine": 2}  # how often


def text_of(m, name, memory):
    return domain_config(name, m.kernel("resident"), 0).replace("memory = 64", f"memory = {memory}")


@dataclass
class Client(threading.Thread):
    """Makes requests at random, and notes when they were made, what they were, and what was answered."""
    m: object
    chance: random.Random
    events: dict = field(default_factory=lambda: {name: [] for name in NAMES})
    failure: object = None

    def __post_init__(self):
        super().__init__()

    __hash__ = threading.Thread.__hash__

    def run(self):
        try:
            tags = dict.fromkeys(NAMES, '"none"')
            for _ in range(REQUESTS):
                self.once(self.chance.choice(NAMES), tags)
        except BaseException as failure:
            self.failure = failure

    def once(self, name, tags):
        kind = self.chance.choices(tuple(KINDS), KINDS.values())[0]
        text, path, body, headers, more = None, f"/v1/domains/{name}/definition", None, {}, None
        method = {"look": "GET", "start": "POST", "destroy": "DELETE", "undefine": "DELETE"}.get(kind, "PUT")
        if kind in ("define", "edit", "new"):
            text, path = text_of(self.m, name, self.chance.randint(32, 48)), f"/v1/domains/{name}"
            body = {"config": text, "file": f"{name}.cfg"}
            headers = {"define": {}, "edit": {"If-Match": tags[name]}, "new": {"If-None-Match": "*"}}[kind]
            more = tags[name] if kind == "edit" else None
        elif kind == "start":
            path, body = f"/v1/domains/{name}/start", {"paused": True}
        elif kind == "destroy":
            path = f"/v1/domains/{name}"
        begin = time.monotonic()
        answer = self.m.request(method, path, body, headers)
        end = time.monotonic()
        assert answer.status != 412 or f"'{name}'" in answer.json["error"]["message"], answer.body
        tag = answer.headers.get("ETag") if answer.status in (200, 201) else None
        if tag:
            tags[name] = tag
        seen = answer.json["config"] if answer.status == 200 and kind == "look" else None
        self.events[name].append(Event(begin, end, (kind, text, more), (answer.status, tag, seen)))


def at_the_same_time(event, others):
    return any(one.begin <= event.end and event.begin <= one.end for one in others if one is not event)


def outcomes(state, event, others):
    """One domain: (text or None, tag, whether it lives). `others`: kind: events of this domain that were answered with
    success."""
    text, tag, lives = state
    (kind, new, match), (status, given, seen) = event.request, event.answer
    if kind in ("define", "edit", "new"):
        if (kind == "edit" and match != tag) or (kind == "new" and text is not None):
            return [state] if status == 412 else []
        return [(new, given, lives)] if status == (201 if text is None else 200) and given else []
    if kind == "look":
        return [state] if (status, seen) == ((404, None) if text is None else (200, text)) and (text is None or given == tag) else []
    if kind == "start":
        if text is None or lives:
            return [state] if status == (404 if text is None else 409) else []
        # What is changed while it is being started is not started.
        changed = any(at_the_same_time(event, others[other]) for other in ("define", "edit", "new", "undefine"))
        return [(text, tag, True)] if status == 201 else [state] if status == 409 and changed else []
    if kind == "destroy":
        if lives:
            # One that is still being started runs already for who starts it, and is not there yet to be ended.
            starting = status == 409 and at_the_same_time(event, others["start"])
            return [(text, tag, False)] if status == 200 else [state] if starting else []
        # Two who end the same domain at the same time are both told that it has ended.
        ended = status == 200 and at_the_same_time(event, others["destroy"])
        return [state] if status == (404 if text is None else 409) or ended else []
    if text is None or lives:
        return [state] if status == (404 if text is None else 409) else []
    return [(None, None, False)] if status == 200 else []


def two_clients(machine):
    """Two clients define, look, start, edit, end and undefine the same domains. What they are answered, and what is there in
    the end, could have come of one after the other; and nothing else is left."""
    m = machine()
    seed = int(os.environ.get("CLOISTER_SEED", "13"))
    clients = [Client(m, random.Random(seed + i)) for i in range(2)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
        if client.failure:
            raise client.failure
    living = m.domains()
    counts = {}
    for name in NAMES:
        events = [event for client in clients for event in client.events[name]]
        done = {kind: [event for event in events if event.request[0] == kind and event.answer[0] in (200, 201)] for kind in KINDS}
        now = time.monotonic()
        last = m.request("GET", f"/v1/domains/{name}/definition")
        seen = last.json["config"] if last.status == 200 else None
        events.append(Event(now, now + 1, ("look", None, None), (last.status, last.headers.get("ETag") if seen else None, seen)))
        # As if somebody started it now.
        events.append(Event(now + 2, now + 3, ("start", None, None), (404 if seen is None else 409 if name in living else 201, None, None)))
        start = (None, None, False)
        wrong = unexplained(events, start, lambda state, event, done=done: outcomes(state, event, done))
        assert wrong is None, (name, wrong)
        for event in events:
            key = event.request[0], event.answer[0]
            counts[key] = counts.get(key, 0) + 1
    for key, count in sorted(counts.items()):
        print(f"{count:6} {key}")
    for kind in KINDS:
        assert len([key for key in counts if key[0] == kind]) > 1, counts
    m.check_settled(living)
    assert len(m.vmms()) == len(living)
    shown = {domain["name"]: domain for domain in m.get("/v1/domains?all=true")}
    assert set(os.listdir(m.state / "definitions")) == {f"{domain['uuid']}.json" for domain in shown.values()}
    for name, domain in shown.items():
        if name in living:
            m.destroy(name)
        assert m.request("DELETE", f"/v1/domains/{name}/definition").status == 200, domain
    m.check_settled([])
    assert m.vmms() == [] and os.listdir(m.state / "definitions") == [] and m.get("/v1/domains?all=true") == []


def thousand(machine):
    """A daemon reads a file for each definition at its start, and starts nothing; to list them it reads none."""
    count = 1000
    m = machine(prepare=record)
    folder = m.state / "definitions"
    body = {"config": text_of(m, "d0", 64), "file": "d.cfg"}
    assert m.request("PUT", "/v1/domains/d0", body).status == 201
    m.kill()
    multiply_definitions(folder, count)
    seen = m.steps.stat().st_size
    m.start()

    def read():
        lines = list(power_cut.read_lines(m.steps, seen))
        assert not [line for line in lines if line.what == "spawn"], lines
        return [line.path for line in lines if line.what == "read" and line.path.startswith(str(folder))]

    assert sorted(read()) == sorted(str(path) for path in folder.iterdir()) and len(read()) == count
    listed = m.get("/v1/domains?all=true")
    assert {domain["name"] for domain in listed} == {f"d{number}" for number in range(count)}
    assert {(domain["state"], domain["id"], domain["pid"]) for domain in listed} == {("shut off", 0, 0)}
    assert m.domains() == {} and len(read()) == count and m.vmms() == []
    print(f"{len(read())} files read for {count} definitions")


CASES = {"two-clients": two_clients, "thousand-definitions": thousand}
