"""Domains that live and end as they should."""

import os
import signal
import socket
import subprocess

from machine import MIB_PAGES, PATIENCE, domain_config, wait_until

TWO_PACKAGES = """
[[package]]
epc = [{ base = 0x1_0000_0000, size = 4 }]
[[package]]
epc = [{ base = 0x80_0000_0000, size = 2, node = 1 }]
"""

# The first pages of the only section cannot be cleaned.
FAULTY = """
[[package]]
epc = [{ base = 0x1_0000_0000, size = 4, faulty = [3, 200] }]
"""


def life(machine):
    """Create, list, look, type, reboot, rename, destroy."""
    m = machine()
    m.create("before")
    m.destroy("before")
    files = m.open_files()
    created = m.create("one")
    assert created["state"] in ("created", "running") and created["epc_mib"] == 1, created
    m.wait_for_ready("one")
    domain = m.domains()["one"]
    assert domain["state"] == "running" and domain["instructions"] > 0 and domain["cpu_seconds"] > 0, domain
    assert m.get("/v1/domains/one")["id"] == m.get(f"/v1/domains/{domain['id']}")["id"]
    # The history comes first, then what is typed comes back.
    assert m.type_into("one", b"q").startswith(b"READY")
    m.check_settled(["one"])

    assert m.request("POST", "/v1/domains/one/reboot").status == 200
    wait_until(lambda: m.domains()["one"]["restarts"] == 1, "the reboot")
    wait_until(lambda: m.console("one").count(b"READY") == 2, "READY after the reboot")
    assert m.domains()["one"]["pid"] == domain["pid"]

    assert m.request("PATCH", "/v1/domains/one", {"name": "uno"}).json["name"] == "uno"
    assert m.request("GET", "/v1/domains/one").status == 404
    assert m.destroy("uno")["state"] == "ended"
    m.check_settled([])
    assert m.vmms() == []
    wait_until(lambda: m.open_files() <= files, "all descriptors to be closed")
    log = m.log.read_text()
    for event in ("domain-created domain=one", "domain-renamed domain=uno before=one", "domain-ended domain=uno"):
        assert f"event={event}" in log, event


def paused(machine):
    """A domain that is created paused starts when it is told to."""
    m = machine()
    assert m.create("later", paused=True)["state"] == "paused"
    assert m.domains()["later"]["instructions"] == 0
    m.restart()
    assert m.domains()["later"]["state"] == "paused"
    assert m.request("POST", "/v1/domains/later/unpause").json["state"] == "running"
    m.wait_for_ready("later")
    assert m.request("POST", "/v1/domains/later/unpause").status == 409


def pause(machine):
    """A paused guest executes nothing, keeps what is typed, and goes on where it was."""
    m = machine()
    m.create("one", vcpus=2)
    m.wait_for_ready("one")
    path = "/v1/domains/one"
    assert m.request("POST", f"{path}/pause").json["state"] == "paused"
    for refused in ("pause", "shutdown"):
        answer = m.request("POST", f"{path}/{refused}")
        assert answer.status == 409 and "paused" in answer.json["error"]["message"], answer.body
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as console:
        console.settimeout(PATIENCE)
        console.connect(m.domains()["one"]["console"])
        console.sendall(b"typed")  # the guest answers with the same
        before = m.domains()["one"]["instructions"], m.console("one")
        m.restart()
        assert (m.domains()["one"]["instructions"], m.console("one")) == before
        assert m.request("POST", f"{path}/unpause").json["state"] == "running"
        wait_until(lambda: b"typed" in m.console("one"), "what was typed while it was paused")
    # A paused domain is not started anew: that would run it.
    assert m.request("POST", f"{path}/pause").status == 200
    answer = m.request("POST", f"{path}/reboot")
    assert answer.status == 409 and "paused" in answer.json["error"]["message"], answer.body
    assert m.domains()["one"]["state"] == "paused"
    assert m.request("POST", f"{path}/unpause").status == 200
    assert m.request("POST", f"{path}/reboot").status == 200
    wait_until(lambda: m.console("one").count(b"READY") == 2, "READY after the reboot")
    assert m.domains()["one"]["state"] == "running"


def trigger(machine):
    """An NMI reaches the processor that it is for, once each; a paused guest finds it when it goes on."""
    m = machine()
    m.create("one", kernel="nmi", vcpus=2)
    m.wait_for_ready("one")
    assert m.request("POST", "/v1/domains/one/pause").status == 200

    def cloister(*words):
        command = [m.settings.programs / "cloister", "--run", m.run, "trigger", *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, stdin=subprocess.DEVNULL)

    def has_come(*counts):
        wait_until(lambda: [m.console("one").count(b"NMI %d" % i) for i in range(2)] == list(counts), counts)

    done = cloister("one", "nmi")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "cloister: one was triggered\n"), done
    assert b"NMI" not in m.console("one")
    assert m.request("POST", "/v1/domains/one/unpause").status == 200
    has_come(1, 0)
    assert cloister("one", "nmi", "1").returncode == 0
    has_come(1, 1)
    assert cloister("one", "nmi", "0").returncode == 0
    has_come(2, 1)
    assert b"x" in m.type_into("one", b"x")
    for words, status, why in ((("one", "reset"), 2, "TRIGGER: reset not in {nmi}"), (("one",), 2, "TRIGGER"),
                               (("one", "nmi", "2"), 1, "'one': there is no vCPU 2: the last is 1")):
        done = cloister(*words)
        assert done.returncode == status and why in done.stderr, (words, done)
    assert m.log.read_text().count("event=domain-trigger domain=one") == 3


def own_end(machine):
    """A guest that powers itself off, and one that crashes, leave nothing behind."""
    m = machine()
    m.create("off", kernel="control", epc=0)
    m.create("crash", kernel="triple_fault", epc=2)
    wait_until(lambda: m.domains() == {}, "both ends")
    m.check_settled([])
    log = m.log.read_text()
    assert "event=domain-ended domain=off id=1 ending=powered-off" in log
    assert "event=domain-ended domain=crash id=2 ending=crashed report=" in log


def shortage(machine):
    """Too little EPC: refused before anything is started, with where the rest is."""
    m = machine(TWO_PACKAGES)
    m.create("big", epc=3)
    m.create("small", epc='["size=1,package=1"]')
    before = m.check_accounts()
    refused = m.request("POST", "/v1/domains", m.creation("more", epc=2))
    assert refused.status == 507, refused.body
    message = refused.json["error"]["message"]
    for part in ("big", "small", "package 0", "package 1", "1 MiB", "3 MiB"):
        assert part in message, (part, message)
    assert refused.json["error"]["line"] == 5, message
    assert m.check_accounts() == before
    m.check_settled(["big", "small"])
    assert len(m.vmms()) == 2
    assert "event=request-refused method=POST path=/v1/domains status=507 domain=more" in m.log.read_text()
    # What fits still goes.
    m.destroy("big")
    assert m.create("more", epc=2)["epc"][0]["pages"] == 2 * MIB_PAGES


def shared_epc(machine):
    """Eight domains see four times the machine's EPC, run enclaves in it, and have what they were given."""
    m = machine("[[package]]\nepc = [{ base = 0x1_0000_0000, size = 8 }]\n")
    names = [f"d{number}" for number in range(8)]
    for name in names:
        m.create(name, epc=4, epc_min=1, kernel="sgx_resident")
    refused = m.request("POST", "/v1/domains", m.creation("more", epc=4, epc_min=1))
    assert refused.status == 507, refused.body
    for name in names:
        m.wait_for_ready(name)
    m.restart()
    shown = m.domains()
    assert {name: (shown[name]["epc_mib"], sum(part["pages"] for part in shown[name]["epc"])) for name in names} == {
        name: (4, MIB_PAGES) for name in names}, shown
    # A reboot leaves nothing in the frames, nor in the pager's.
    assert m.request("POST", "/v1/domains/d3/reboot").status == 200
    wait_until(lambda: m.console("d3").count(b"READY") == 2, "d3 to run again")
    m.check_settled(names)
    for name in names:
        assert b"WRONG" not in m.console(name)
        m.destroy(name)
    m.check_settled([])


def paged_sections(machine):
    """Sections of two packages that are paged: each package gives its part, and enclaves run."""
    m = machine(TWO_PACKAGES)
    epc = '["size=2,package=0", "size=4,package=1"]'
    m.create("a", epc=epc, epc_min=3, kernel="sgx_resident")
    m.create("b", epc='["size=1", "size=1", "size=2"]', epc_min=3, kernel="sgx_resident")
    for name in "ab":
        m.wait_for_ready(name)
    by_package = {0: 0, 1: 0}
    for extent in m.domains()["a"]["epc"]:
        by_package[extent["package"]] += extent["pages"]
    assert by_package == {0: MIB_PAGES, 1: 2 * MIB_PAGES}, by_package
    assert len({extent["package"] for extent in m.domains()["b"]["epc"]}) == 1
    m.restart()
    for name in "ab":
        assert m.request("POST", f"/v1/domains/{name}/reboot").status == 200
    wait_until(lambda: all([m.console(name).count(b"READY") == 2 for name in "ab"]), "both to run again")
    for name in "ab":
        assert b"WRONG" not in m.console(name)
        m.destroy(name)
    m.check_settled([])


def cpus(machine):
    """Each processor of a domain runs where its configuration says, also after a reboot and under another daemon."""
    m = machine(TWO_PACKAGES)
    here = sorted(os.sched_getaffinity(0))
    first, last = here[0], here[-1]

    def threads(pid):
        return sorted(tuple(sorted(os.sched_getaffinity(int(tid)))) for tid in os.listdir(f"/proc/{pid}/task"))

    m.create("pinned", cpus=f"'{last}'", vcpus=2)
    m.create("each", cpus=f"['{first}', '{last}', 'all']", vcpus=3)
    m.create("free", vcpus=2)
    for name in ("pinned", "each", "free"):
        m.wait_for_ready(name)
    ready = 1
    for _ in range(2):
        domains = m.domains()
        assert domains["pinned"]["cpus"] == [str(last)] * 2, domains["pinned"]
        assert domains["each"]["cpus"] == [str(first), str(last), "all"] and "cpus" not in domains["free"], domains
        assert set(threads(domains["pinned"]["pid"])) == {(last,)}
        seen = threads(domains["each"]["pid"])
        assert (first,) in seen and (last,) in seen and tuple(here) in seen, seen
        assert set(threads(domains["free"]["pid"])) == {tuple(here)}
        m.restart()
        assert m.request("POST", "/v1/domains/each/reboot").status == 200
        ready += 1
        wait_until(lambda: m.console("each").count(b"READY") == ready, "it to run again")
    refused = m.request("POST", "/v1/domains", m.creation("more", cpus="'8000'"))
    assert refused.status == 400 and "the host has no processor 8000" in refused.json["error"]["message"], refused.body
    for name in ("pinned", "each", "free"):
        m.destroy(name)
    m.check_settled([])


def separate_keys(machine):
    """Packages with unrelated keys: a domain cannot have both."""
    m = machine('keys = "separate"\n' + TWO_PACKAGES)
    refused = m.request("POST", "/v1/domains", m.creation("both", epc='["size=1,package=0", "size=1,package=1"]'))
    assert refused.status == 400 and "keys" in refused.json["error"]["message"], refused.body
    m.check_settled([])


def restart(machine):
    """The daemon ends and comes back; its domains run on, and are found with all that they have."""
    m = machine(TWO_PACKAGES)
    for name, epc in (("a", 1), ("b", '["size=1,package=0", "size=1,package=1"]'), ("c", 0)):
        m.create(name, epc=epc)
        m.wait_for_ready(name)
    before, epc = m.domains(), m.check_accounts()
    for number in (signal.SIGTERM, signal.SIGKILL):
        m.restart(number)
        assert m.check_accounts() == epc
        m.check_settled("abc")
        for name, domain in m.domains().items():
            for key in ("id", "pid", "epc", "started", "placement", "state"):
                assert domain[key] == before[name][key], (name, key, domain)
            assert b"x" in m.type_into(name, b"x")
        assert m.epc_contents("b")[0].count(b"THE-SECRET") > 0
    m.destroy("b")
    m.check_settled("ac")
    # A number is not given again.
    assert m.create("d")["id"] not in {domain["id"] for domain in before.values()}


def single(machine):
    """Two daemons do not share a folder."""
    m = machine()
    second = subprocess.run(m.command(), capture_output=True, text=True, timeout=PATIENCE)
    assert second.returncode == 1 and "another cloisterd runs here" in second.stderr, second
    m.check_settled([])


def withdrawn(machine):
    """Frames that cannot be cleaned are never given away again, and not forgotten."""
    m = machine(FAULTY)
    first = m.create("victim", epc=1)["epc"][0]["first"]
    # In its second round it finds its SECS still there, and ends.
    wait_until(lambda: m.domains() == {}, "the victim's end")
    epc = m.check_accounts()
    # The enclave covered both, and its SECS, the first page, had children that could not be removed.
    assert epc["withdrawn"] == [first, first + 3, first + 200], epc
    m.restart()
    assert m.check_accounts() == epc
    m.create("next", epc=3)
    taken = [extent for domain in m.get("/v1/epc/domains") for extent in domain["extents"]]
    for frame in epc["withdrawn"]:
        assert not any(e["first"] <= frame < e["first"] + e["pages"] for e in taken), (frame, taken)
    assert m.check_accounts()["withdrawn"] == epc["withdrawn"]
    runs = m.get("/v1/epc/map")["packages"][0]["runs"]
    shown = [run["first"] + i for run in runs if run["type"] == "withdrawn" for i in range(run["pages"])]
    assert shown == epc["withdrawn"], runs


def run_faulty(machine):
    """`cloister run --machine` has the machine's own frames: what cannot be cleaned there has no second owner either."""
    m = machine()
    folder = m.state.parent
    config, description = folder / "run.cfg", folder / "faulty.toml"
    config.write_text(domain_config("run", m.kernel("sgx_launch"), epc=1, on_poweroff='"restart"'))

    def run(faulty):
        description.write_text(f"[[package]]\nepc = [{{ base = 0x80_0000_0000, size = 2, faulty = {faulty} }}]\n")
        command = [m.settings.programs / "cloister", "run", "--timeout", "2", "--machine", description, config]
        return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, stdin=subprocess.DEVNULL)

    # The last page of its frames, and the first that it did not get.
    stuck, free = run([255]), run([256])
    assert stuck.returncode == 1 and "run cannot start again: 1 EPC pages cannot be removed" in stuck.stderr, stuck
    assert free.returncode == 124 and free.stdout.count("DONE") > 1, free


CASES = {
    "life": life,
    "paused": paused,
    "pause": pause,
    "trigger": trigger,
    "own-end": own_end,
    "shared-epc": shared_epc, "paged-sections": paged_sections, "cpus": cpus, "shortage": shortage,
    "separate-keys": separate_keys,
    "restart": restart,
    "single": single,
    "withdrawn": withdrawn,
    "run-faulty": run_faulty,
}
