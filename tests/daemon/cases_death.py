"""Ends at any point: of VMMs, of the daemon, of both, while domains are created and destroyed."""

import http.client
import json
import os
import random
import resource
import time
from pathlib import Path

from holding import new_thread_held
from machine import MIB_PAGES, Connection, kill_pid, wait_until

MACHINE = """
[[package]]
epc = [{ base = 0x1_0000_0000, size = 3 }]
"""
HUGE = """
memory_overcommit = 10

[[package]]
epc = [{ size = "64 GiB" }]
"""
SECRET = b"THE-SECRET-OF-A-DOMAIN"


class Victim:
    """A request that may lose its daemon on the way."""

    def __init__(self, machine, method, path, body=None):
        self.connection = Connection(machine.run / "cloisterd.sock")
        self.connection.request(method, path, json.dumps(body) if body else None)

    def finish(self):
        """The status; None if nobody answered."""
        try:
            return self.connection.getresponse().status
        except (ConnectionError, http.client.HTTPException):
            return None
        finally:
            self.connection.close()


def typical_time(action):
    start = time.monotonic()
    action()
    return time.monotonic() - start


def kill_points(machine):
    """Two hundred points (CLOISTER_FULL: ten thousand). At each a VMM, the daemon or both are killed somewhere in a
    creation or a destruction. The accounts balance, others run on, and nothing is left behind."""
    m = machine(MACHINE)
    kill_at(m, 10_000 if m.settings.full else int(os.environ.get("CLOISTER_KILL_POINTS", "200")))


def kill_at(m, points, processes=lambda: [], check=lambda: None, **more):
    """`processes`: what the victim, which has `more` in its configuration, has beside its VMM."""
    seed = int(os.environ.get("CLOISTER_SEED", "20"))
    chance = random.Random(seed)
    print(f"{points} points, seed {seed}")
    m.create("keeper")
    m.wait_for_ready("keeper")
    keeper = m.domains()["keeper"]
    creation = typical_time(lambda: m.create("victim", **more))
    destruction = typical_time(lambda: m.destroy("victim"))
    files = m.restart().open_files()
    seen = {}

    whoms = ("vmm", "daemon", "both", "both-reversed") + (("beside",) if more else ())
    for point in range(points):
        kind, whom = chance.choice(("create", "destroy")), chance.choice(whoms)
        if kind == "create":
            delay = chance.uniform(0, 1.3 * creation)
            victim = Victim(m, "POST", "/v1/domains", m.creation("victim", **more))
        else:
            m.create("victim", **more)
            delay = chance.uniform(0, 1.3 * destruction)
            victim = Victim(m, "DELETE", "/v1/domains/victim")
        time.sleep(delay)

        daemon_dies = whom not in ("vmm", "beside")
        if whom == "both-reversed":
            m.kill()
        if whom == "beside":
            for pid in processes():
                if chance.random() < 0.7:
                    kill_pid(pid)
        elif whom != "daemon":
            for pid in m.vmms():
                if pid != keeper["pid"]:
                    kill_pid(pid)
        if whom in ("daemon", "both"):
            m.kill()
        status = victim.finish()
        outcome = (kind, whom, status)
        seen[outcome] = seen.get(outcome, 0) + 1
        if daemon_dies:
            m.start()
        try:
            check_point(m, keeper)
            check()
        except AssertionError:
            print(f"point {point}: {outcome} after {delay:.4f} s")
            raise
        if point % 100 == 99:
            assert b"k" in m.type_into("keeper", b"k")
            wait_until(lambda: m.open_files() <= files, "descriptors to be closed")
    for outcome, count in sorted(seen.items(), key=str):
        print(f"{count:6} {outcome}")


def check_point(m, keeper):
    m.check_accounts()
    domains = m.domains()
    assert domains["keeper"]["pid"] == keeper["pid"] and domains["keeper"]["epc"] == keeper["epc"], domains
    assert domains["keeper"]["state"] == "running", domains
    if "victim" in domains:
        answer = m.request("DELETE", "/v1/domains/victim")
        assert answer.status in (200, 404, 409), answer.body
    wait_until(lambda: set(m.domains()) == {"keeper"}, "the victim to be gone")
    wait_until(lambda: m.vmms() == [keeper["pid"]], "its VMM to be gone")
    m.check_settled(["keeper"])
    assert m.check_accounts()["granted_pages"] == MIB_PAGES
    reap_orphans_but(m)


def reap_orphans_but(m):
    """All ended children but the daemon, whose status is subprocess's to take."""
    for pid in [int(p) for p in children()]:
        if pid != m.process.pid:
            try:
                os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                pass


def children():
    for thread in os.listdir("/proc/self/task"):
        try:
            with open(f"/proc/self/task/{thread}/children") as file:
                yield from file.read().split()
        except OSError:
            pass


def next_owner(machine):
    """A domain with secrets is ended at any point, in any way; the next owner of its frames finds nothing in memory,
    and no valid entry in the EPCM."""
    m = machine(MACHINE)
    chance = random.Random(4)
    looked = 0
    for _ in range(200 if m.settings.full else 40):
        frames = m.create("victim", epc=3)["epc"]
        if chance.random() < 0.5:
            m.wait_for_ready("victim")
            assert m.epc_contents("victim")[0].count(SECRET) > MIB_PAGES
            looked += 1
        time.sleep(chance.uniform(0, 0.02))
        pid = m.domains()["victim"]["pid"]
        way = chance.choice(("destroy", "vmm", "both"))
        if way == "destroy":
            m.destroy("victim")
        else:
            kill_pid(pid)
            if way == "both":
                m.restart()
        wait_until(lambda: m.domains() == {}, "the victim's end")
        assert m.create("next", epc=3, paused=True)["epc"] == frames
        pages, epcm = m.epc_contents("next")
        assert len(pages) == 3 << 20 and pages.count(0) == len(pages)
        assert SECRET not in epcm
        (run,) = m.get("/v1/epc/map")["packages"][0]["runs"]
        assert (run["type"], run["pages"]) == ("unused", 3 * MIB_PAGES), run
        m.destroy("next")
        reap_orphans_but(m)
    assert looked > 0
    m.check_settled([])


def no_memory(machine):
    """A daemon without memory to clean a domain's pages with keeps them until it has some: they are neither free nor
    withdrawn, and other domains come and go."""
    m = machine(HUGE)
    m.create("large", kernel="sgx_resident", epc=64 * 1024)
    m.wait_for_ready("large")
    used = next(int(line.split()[1]) for line in Path(f"/proc/{m.process.pid}/status").read_text().splitlines()
                if line.startswith("VmSize"))
    before = resource.prlimit(m.process.pid, resource.RLIMIT_AS)
    # Room for threads, but not for what a package notes of 64 GiB of pages.
    resource.prlimit(m.process.pid, resource.RLIMIT_AS, (used * 1024 + (96 << 20), before[1]))
    kill_pid(m.domains()["large"]["pid"])
    wait_until(lambda: b"cleaning-waits" in m.log.read_bytes(), "that there is no memory")
    assert m.domains()["large"]["state"] == "ending", m.domains()
    epc = m.get("/v1/epc")
    assert (epc["granted_pages"], epc["withdrawn_pages"]) == (64 * 1024 * MIB_PAGES, 0), epc
    resource.prlimit(m.process.pid, resource.RLIMIT_AS, before)
    wait_until(lambda: "large" not in m.domains(), "the end")
    m.check_settled([])
    assert m.get("/v1/epc")["withdrawn_pages"] == 0


def while_ending(machine):
    """While a domain's pages are being cleaned everybody else is served, and the domain is there, and "ending": held in
    the middle of its cleaning, at the search for pages that were used, it keeps its name and its frames."""
    m = machine(MACHINE)
    lseek, seek_data, seek_hole = 8, 3, 4
    domain = m.create("large", epc=2)
    m.wait_for_ready("large")
    m.create("other", epc=0)

    def is_search(arguments):
        return arguments[2] in (seek_data, seek_hole)

    with new_thread_held(m.process.pid, lambda: kill_pid(domain["pid"]), lseek, is_search):
        large = m.domains()["large"]
        assert (large["state"], large["epc"]) == ("ending", domain["epc"]), large
        for method, path, body in (("POST", "/v1/domains/large/pause", None), ("PATCH", "/v1/domains/large", {"name": "x"}),
                                   ("POST", "/v1/domains", m.creation("large"))):
            answer = m.request(method, path, body)
            assert answer.status == 409, (path, answer.body)
        assert m.check_accounts()["granted_pages"] == 2 * MIB_PAGES
        assert m.request("POST", "/v1/domains", m.creation("more", epc=2)).status == 507
        m.create("more", epc=1)
        m.wait_for_ready("more")
        for verb in ("pause", "unpause"):
            assert m.request("POST", f"/v1/domains/other/{verb}").status == 200, verb
        m.destroy("more")
        assert m.request("GET", "/metrics").status == 200
        assert m.domains()["large"]["state"] == "ending"
    wait_until(lambda: "large" not in m.domains(), "the end")
    m.create("more", epc=3)
    m.check_settled(["other", "more"])


CASES = {"kill-points": kill_points, "next-owner": next_owner, "no-memory": no_memory, "while-ending": while_ending}
