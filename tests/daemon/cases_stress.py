"""Many domains at once: created, rebooted, paused, destroyed and killed at random, and the daemon with them. The accounts
balance at every step, and after the end everything is free.

The steps follow from a seed, which is printed (CLOISTER_SEED sets it), as is each step with its outcome."""

import json
import os
import random
import re
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

import cases_death
from machine import MIB_PAGES, domain_config, kill_pid, open_files, wait_until

# More is asked for than there is: some creations must be refused.
MACHINE = """
[[package]]
epc = [{ base = 0x1_0000_0000, size = 9 }, { base = 0x2_0000_0000, size = 3 }]
[[package]]
epc = [{ base = 0x80_0000_0000, size = 8, node = 1 }]
"""
LINUX_MACHINE = """
[[package]]
epc = [{ base = 0x1_0000_0000, size = 96 }]
[[package]]
epc = [{ base = 0x80_0000_0000, size = 64, node = 1 }]
"""
ACTIONS = {"destroy": 4, "kill": 4, "reboot": 4, "pause": 2, "leave": 2}
DAEMON = {"runs": 12, "killed": 3, "ended": 1}
LINUX_PATIENCE = 600  # seconds for guests that share few processors


@dataclass
class Payloads:
    """Guests that boot in milliseconds and run enclaves until they are ended."""

    seconds: float = 10
    domains: int = 5
    machine: str = MACHINE

    def creation(self, m, name, chance, smallest):
        kernel = chance.choice(("sgx_resident", "sgx_resident", "resident"))
        size, package = chance.randint(1, 4), chance.choice(("", ",package=0", ",package=1"))
        epc = "1" if smallest else f'["size={size}{package}"]'
        return m.creation(name, kernel=kernel, epc=epc, vcpus=chance.choice((1, 1, 2)))

    def busy(self, m, name):
        """It has run its enclaves, and without a fault."""
        text = m.console(name)
        assert b"WRONG" not in text and b"PANIC" not in text, (name, text)
        return text.rstrip().endswith(b"READY")

    def wait(self, condition, what):
        wait_until(condition, what)


@dataclass
class Linux:
    """Debian's kernel with an enclave that the program outside enters; then the guest powers off, and starts anew."""

    folder: Path
    seconds: float = 60
    domains: int = 8
    machine: str = LINUX_MACHINE

    @staticmethod
    def of(settings):
        """None, and a word about it, where there is no kernel."""
        if (settings.guest / "vmlinuz").exists():
            return Linux(settings.guest)
        print(f"no Linux guests: {settings.guest} has no kernel (scripts/guest-image)")
        return None

    def creation(self, m, name, chance, smallest):
        size, package = chance.choice((8, 16, 32)), chance.choice(("", ",package=0", ",package=1"))
        quoted = {
            "epc": "8" if smallest else f'["size={size}{package}"]',
            "ramdisk": f'"{self.folder / "initramfs.cpio"}"',
            "cmdline": '"console=ttyS0 cloister.test=enclave enclave=hello"',
            "on_poweroff": '"restart"',
        }
        text = domain_config(name, self.folder / "vmlinuz", **quoted).replace("memory = 64", "memory = 256")
        return {"config": text, "file": f"{name}.cfg", "paused": False}

    def printed(self, m, name):
        text = m.console(name)
        assert b"FAIL" not in text and b"Kernel panic" not in text, (name, text[-2000:])
        return text

    def busy(self, m, name):
        return b"TEST enclave/hello: ok" in self.printed(m, name)

    def wait(self, condition, what, state=lambda: ""):
        end = time.monotonic() + LINUX_PATIENCE
        while not condition():
            assert time.monotonic() < end, f"waited {LINUX_PATIENCE} s for {what}; {state()}"
            time.sleep(0.5)


@dataclass
class Story:
    """What was done, and what must be there."""

    m: object
    guests: object
    start: float = field(default_factory=time.monotonic)
    there: dict = field(default_factory=dict)  # name: state, "running" or "paused"
    counts: dict = field(default_factory=dict)

    def say(self, *words):
        print(f"{time.monotonic() - self.start:8.3f}", *words, flush=True)

    def count(self, what):
        self.counts[what] = self.counts.get(what, 0) + 1

    # ---- one action, begun and finished, so that several are under way at the same time

    def begin(self, name, action, chance):
        m = self.m
        creation = self.guests.creation(m, name, chance, action == "boot")  # drawn in any case: the steps depend on the seed alone
        if name not in self.there:
            return "create", cases_death.Victim(m, "POST", "/v1/domains", creation)
        if action == "pause" and self.there[name] == "paused":
            action = "unpause"
        if action == "leave":
            return action, None
        if action == "kill":
            kill_pid(m.domains()[name]["pid"])
            return action, None
        method, path = ("DELETE", "") if action == "destroy" else ("POST", f"/{action}")
        return action, cases_death.Victim(m, method, f"/v1/domains/{name}{path}")

    def finish(self, name, action, victim):
        """`there` is what it must be now, unless nobody answered."""
        status = victim.finish() if victim else None
        self.count((action, status))
        if action == "create" and status == 201:
            self.there[name] = "running"
        elif action in ("destroy", "kill") and (status == 200 or action == "kill"):
            self.there.pop(name)
        elif action in ("pause", "unpause", "reboot") and status == 200:
            self.there[name] = "paused" if action == "pause" else "running"
        elif victim and status is not None:
            # Too little EPC; the guest was about to start anew, and could not be paused; or the daemon was about to end.
            refusals = (("create", 507), ("pause", 409), ("reboot", 409), ("unpause", 409))
            assert status == 503 or (action, status) in refusals, (name, action, status)
        if victim and status is None:
            self.find_out(name, action)
        return f"{name} {action}" + (f" -> {status}" if victim else "")

    def find_out(self, name, action):
        """After the daemon's end nobody knows what became of a request that it did not answer."""
        if action in ("create", "destroy"):
            # It may be there, or not, or be about to end; or its launch has outlived the daemon (late-launch), and is waited
            # for before anybody may have its name.
            def settled():
                answer = self.m.request("DELETE", f"/v1/domains/{name}")
                being_created = answer.status == 409 and "is being created" in str(answer.body)
                assert answer.status in (200, 404) or being_created, (name, action, answer.status, answer.body)
                return not being_created

            wait_until(settled, f"the end of {name}'s launch")
            self.there.pop(name, None)
        else:
            self.there[name] = self.m.get(f"/v1/domains/{name}")["state"]

    # ---- what must be true after each step

    def check(self):
        m = self.m
        wait_until(lambda: set(m.domains()) == set(self.there), f"exactly {sorted(self.there)}")
        m.check_settled(self.there)
        pids = {domain["pid"] for domain in m.domains().values()}
        wait_until(lambda: set(m.vmms()) == pids, "the processes of domains, and no others")
        listed = {domain["name"]: domain["extents"] for domain in m.get("/v1/epc/domains")}
        assert listed == records(m), (listed, records(m))
        for package in m.get("/v1/epc")["packages"]:
            extents = [e for extents in listed.values() for e in extents if e["package"] == package["package"]]
            assert package["granted_pages"] == sum(e["pages"] for e in extents), (package, extents)
            assert package["withdrawn_pages"] == 0, package
        cases_death.reap_orphans_but(m)


def records(m):
    """Who has which frames, by the files that the daemon keeps."""
    found = {}
    for path in (m.state / "domains").iterdir():
        record = json.loads(path.read_text())
        found[record["name"]] = [
            {"first": extent["first"], "pages": extent["pages"], "package": grant["package"]}
            for grant in record["grants"]
            for extent in grant["extents"]
        ]
    return found


def memfds(m):
    """Of the daemon's: names, without those of the machine's own counters."""
    return [link for link in open_files(m.process.pid).values() if "memfd:" in link and "counters" not in link]


def step(story, chance, names, number):
    """A few actions at the same time, in the middle of which the daemon may be killed."""
    m = story.m
    chosen = chance.sample(names, chance.choice((1, 1, 2, 3)))
    daemon = chance.choices(list(DAEMON), DAEMON.values())[0]
    delay = chance.uniform(0, 0.03)
    begun = [(name, *story.begin(name, chance.choices(list(ACTIONS), ACTIONS.values())[0], chance)) for name in chosen]
    time.sleep(delay)
    if daemon != "runs":
        m.restart(signal.SIGKILL if daemon == "killed" else signal.SIGTERM)
        story.count(("daemon", daemon))
    done = [story.finish(*one) for one in begun]
    story.say(f"step {number}:", "; ".join(done), f"; daemon {daemon}" if daemon != "runs" else "")


def stress(machine):
    """Ten seconds with payloads; CLOISTER_FULL: a minute with eight of them, and one with eight Linux guests."""
    settings = run(machine, Payloads())
    if not settings.full:
        return
    run(machine, Payloads(seconds=60, domains=8))
    if linux := Linux.of(settings):
        run(machine, linux)


def paged_linux(machine):
    """In its sandbox, Linux has an enclave of 4 MiB on 2 MiB of the machine's EPC, twice; with a reboot between. In both
    ways of paging."""
    for how in ("oss", "trap"):
        page_linux(machine, how)


def page_linux(machine, how):
    m = machine("[[package]]\nepc = [{ base = 0x1_0000_0000, size = 2 }]\n")
    linux = Linux.of(m.settings)
    if linux is None:
        return
    creation = linux.creation(m, "one", random.Random(1), True)
    creation["config"] = creation["config"].replace("epc = 8", f"epc = 16\nepc_min = 2\nepc_paging = '{how}'")
    creation["config"] = creation["config"].replace("hello", "paging")
    assert m.request("POST", "/v1/domains", creation).status == 201

    def found(times):
        return linux.printed(m, "one").count(b"TEST enclave/paging: ok") == times

    for times in (1, 2):
        linux.wait(lambda times=times: found(times), "an enclave that is paged")
    m.destroy("one")
    m.check_settled([])


def paged_guests(machine):
    """Two Linux guests, each with an eighth of the EPC that it sees, run all enclave examples at the same time on a
    machine whose EPC they have to the last page. CLOISTER_FULL: eight of 64 MiB on 64 MiB, and of 128 MiB on 256."""
    for count, sees, has in ((8, 64, 8), (8, 128, 32)) if os.environ.get("CLOISTER_FULL") else ((2, 64, 8),):
        page_guests(machine, count, sees, has)


def page_guests(machine, count, sees, has):
    m = machine(f"[[package]]\nepc = [{{ base = 0x1_0000_0000, size = {has * count} }}]\n")
    linux = Linux.of(m.settings)
    if linux is None:
        return
    examples = ["hello", "threads", "paging", "heap", "faults", "seal", "attest"]
    names = [f"linux{i}" for i in range(count)]
    for name in names:
        creation = linux.creation(m, name, random.Random(1), True)
        config = creation["config"].replace("epc = 8", f"epc = {sees}\nepc_min = {has}\nvcpus = 2")
        creation["config"] = config.replace("enclave=hello", "enclave=" + ",".join(examples))
        answer = m.request("POST", "/v1/domains", creation)
        assert answer.status == 201, answer.body
    assert m.get("/v1/epc")["free_pages"] == 0

    def good(name):
        text = linux.printed(m, name)
        return all(b"TEST enclave/%s: ok" % example.encode() in text for example in examples)

    linux.wait(lambda: all([good(name) for name in names]), "all examples in all guests")
    for name in names:
        m.destroy(name)
    m.check_settled([])


def balloon(machine):
    """Linux gives EPC back as it is asked to, under an enclave that its own kernel must then page, and takes it again."""
    m = machine("[[package]]\nepc = [{ base = 0x1_0000_0000, size = 16 }]\n")
    linux = Linux.of(m.settings)
    if linux is None:
        return
    creation = linux.creation(m, "one", random.Random(1), True)
    creation["config"] = creation["config"].replace("epc = 8", "epc = 16").replace("test=enclave", "test=balloon")
    assert m.request("POST", "/v1/domains", creation).status == 201

    def last():
        lines = re.findall(rb"BALLOON target=(\d+) given=(\d+) hello=(\d+) paging=(\d+)", linux.printed(m, "one"))
        return [int(number) for number in lines[-1]] if lines else None

    linux.wait(last, "the agent")

    def wait_for(target):
        wanted = [target * MIB_PAGES, (16 - target) * MIB_PAGES, 0, 0]
        linux.wait(lambda: last() == wanted, f"the guest to say {wanted}", lambda: m.console("one")[-600:])
        given = m.get("/v1/domains/one")["balloon"]["given_pages"]
        assert given == (16 - target) * MIB_PAGES, given

    for target in (3, 16, 8, 2, 16, 4):
        assert m.request("POST", "/v1/domains/one/epc-target", {"mib": target}).status == 200
        wait_for(target)
    # A guest that starts anew has all of its EPC, and nobody has asked it for less.
    assert m.request("POST", "/v1/domains/one/reboot").status == 200
    wait_for(16)
    for body, status in (({"mib": 17}, 409), ({}, 400), ({"mib": -1}, 400)):
        assert m.request("POST", "/v1/domains/one/epc-target", body).status == status, body
    m.destroy("one")
    m.check_settled([])


def run(machine, guests):
    m = machine(guests.machine)
    seed = int(os.environ.get("CLOISTER_SEED", time.time_ns() % 1_000_000))
    chance = random.Random(seed)
    names = [f"d{i}" for i in range(guests.domains)]
    story = Story(m, guests)
    story.say(f"{type(guests).__name__}: {guests.domains} domains for {guests.seconds} s, seed {seed}")

    # All boot together, with little EPC.
    total = m.check_accounts()["total_pages"]
    begun = [(name, *story.begin(name, "boot", chance)) for name in names]
    story.say("; ".join(story.finish(*one) for one in begun))
    assert len(story.there) == len(names), story.there
    story.check()
    guests.wait(lambda: all(guests.busy(m, name) for name in list(story.there)), "enclaves in every guest")
    story.say("all have run enclaves")

    number, end = 0, time.monotonic() + guests.seconds
    while time.monotonic() < end:
        number += 1
        step(story, chance, names, number)
        story.check()
    for name, domain in m.domains().items():
        if domain["state"] == "paused":
            assert m.request("POST", f"/v1/domains/{name}/unpause").status == 200
    guests.wait(lambda: all(guests.busy(m, name) for name in story.there), "enclaves in every guest that is left")
    story.say(f"{number} steps; {len(story.there)} domains are left, and all have run enclaves")
    for name in list(story.there):
        m.destroy(name)
        story.there.pop(name)
        story.check()

    epc = m.check_accounts()
    assert epc["free_pages"] == epc["total_pages"] == total, epc
    assert m.vmms() == [], m.vmms()
    wait_until(lambda: memfds(m) == [], "the last domain's memory to be gone")
    for what, count in sorted(story.counts.items(), key=str):
        story.say(f"{count:6} {what[0]} {what[1] if what[1] is not None else ''}")
    # Nothing of what this is about was left out by chance.
    for needed in (("create", 201), ("destroy", 200), ("kill", None), ("reboot", 200), ("daemon", "killed")):
        assert story.counts.get(needed), f"{needed} did not happen with seed {seed}"
    return m.settings


CASES = {"stress": stress, "paged-linux": paged_linux, "paged-guests": paged_guests, "balloon": balloon}
