"""`on_host_shutdown = "save"`: what ran when the host went down goes on when it has come up, with its enclaves, once."""

import json
import os
import re
import signal
import subprocess
import unittest

from cases_enclaves import die_in
from cases_ends import press, says
from cases_live_enclaves import goes_on
from cases_owner import Member
from cases_persist import FAILED, Cloister
from machine import domain_config, kill_pid, stop, wait_until
from recording import record

ROOM = "[[package]]\nepc = [{ base = 0x1_0000_0000, size = 16 }]\n"
SAVE = {"on_host_shutdown": '"save"', "shutdown_timeout": 3}


def ready(cloister, name, kernel="ends", autostart="off", **more):
    """Defined anew, and started."""
    m = cloister.m
    cloister("define", cloister.file(name, domain_config(name, m.kernel(kernel), **{**SAVE, **more})))
    cloister("autostart", name, autostart)
    cloister("start", name)
    m.wait_for_ready(name)


def files(m):
    return sorted(path.name for path in (m.state / "saved").iterdir())


def tickets(m):
    return sorted(path.name for path in (m.state / "tickets").iterdir())


def next_boot(m, boots=[1]):
    boots[0] += 1
    m.kill()
    m.environment["CLOISTER_TEST_BOOT_ID"] = f"boot-{boots[0]}"
    m.start()


def first_boot(machine, text=ROOM, **more):
    m = machine(text, **more)
    next_boot(m)
    return m, Cloister(m)


def life(machine):
    """Whatever their autostart says, with their enclaves, paused or asleep as they were; and those that have nobody to
    go on as are shut down."""
    m, cloister = first_boot(machine)
    ready(cloister, "counts", "sgx_counting", epc=1)
    ready(cloister, "paged", "sgx_counting", epc=4, epc_min=1, autostart="on")
    ready(cloister, "waits", epc=1, vcpus=2)
    says(m, "waits", b"s", b"SET")
    cloister("pause", "waits")
    ready(cloister, "sleeps", epc=0)
    press(m, "sleeps", b"z")
    wait_until(lambda: m.domains()["sleeps"]["state"] == "suspended", "suspended")
    m.create("transient", kernel="ends", epc=0, **SAVE)
    m.wait_for_ready("transient")
    uuids = {name: m.domains()[name]["uuid"] for name in m.domains()}
    cloister("host-down")
    for name in ("counts", "paged", "waits", "sleeps"):
        assert f"cloister: {name} is saved" in cloister.said, cloister.said
        assert m.get(f"/v1/domains/{name}")["goes_on"] and m.get(f"/v1/domains/{name}")["ending"] == "saved"
    assert "transient is not saved, but shut down: 'transient' is not defined" in cloister.said, cloister.said
    assert m.domains() == {} and m.vmms() == []
    assert files(m) == sorted(f"{uuids[name]}.{word}" for name, word in
                              (("counts", "running"), ("paged", "running"), ("waits", "paused"), ("sleeps", "running")))
    assert (m.state / "saved").stat().st_mode & 0o7777 == 0o700
    assert {(m.state / "saved" / name).stat().st_mode & 0o7777 for name in files(m)} == {0o600}
    assert len(tickets(m)) == 3, tickets(m)
    # A daemon that starts anew before the host has ended.
    m.restart()
    assert m.domains() == {} and len(files(m)) == 4
    listed = cloister("list").decode()
    for name in ("counts", "paged", "waits", "sleeps"):
        assert re.search(rf"^{name} +- +saved ", listed, re.MULTILINE), listed
        assert f"\n{name} was saved when the host went down: cloister start {name} lets it go on\n" in listed, listed
    assert re.search(r"^state +saved$", cloister("info", "waits").decode(), re.MULTILINE)
    assert {d["name"] for d in json.loads(cloister("list", "--json"))} == {"counts", "paged", "waits", "sleeps"}
    next_boot(m)
    wait_until(lambda: len(m.domains()) == 4, "all that were saved")
    wait_until(lambda: not files(m) and not tickets(m), "that each has gone on")
    states = {"counts": "running", "paged": "running", "waits": "paused", "sleeps": "suspended"}
    wait_until(lambda: {name: domain["state"] for name, domain in m.domains().items()} == states, "each as it was")
    assert {name: domain["uuid"] for name, domain in m.domains().items()} == {name: uuids[name] for name in states}
    for name in ("counts", "paged"):
        m.type_into(name, b"echo")
        assert b"WRONG" not in m.console(name), m.console(name)
    cloister("unpause", "waits")
    says(m, "waits", b"d", b"CLOCK")
    # The host crashes: what ran is not there any more, and nothing goes on from before that.
    pids = [domain["pid"] for domain in m.domains().values()]
    m.kill()
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    m.start()
    wait_until(lambda: not m.domains(), "the ends of all")
    next_boot(m)
    wait_until(lambda: "paged" in m.domains(), "the one that is always started")
    wait_until(lambda: m.domains()["paged"]["state"] == "running", "its start")
    assert list(m.domains()) == ["paged"] and "enclaves" not in m.domains()["paged"]
    m.wait_for_ready("paged")
    m.destroy("paged")
    m.check_settled([])


def stays(machine):
    """The host stays up after all; and what is asked of a domain that is saved so."""
    m, cloister = first_boot(machine)
    for name in ("one", "two"):
        ready(cloister, name, epc=1)
        says(m, name, b"s", b"SET")
    cloister("host-down")
    cloister("start", "one", status=FAILED)
    assert "the host goes down" in cloister.said, cloister.said
    assert len(files(m)) == 2
    cloister("host-up")
    assert "cloister: one goes on as it was when the host went down\n" in cloister.said, cloister.said
    for name in ("one", "two"):
        says(m, name, b"d", b"CLOCK")
    assert not files(m) and not tickets(m)
    # One that could not go on waits, and is not started from another text or file meanwhile.
    cloister("snapshot", "one", "one.snap")
    cloister("destroy", "two")
    cloister("host-down")
    cloister("rename", "one", "other", status=FAILED)
    assert "was saved when the host went down, by this name" in cloister.said, cloister.said
    next_boot(m)
    wait_until(lambda: "one" in m.domains(), "one")
    cloister("host-down")
    m.request("POST", "/v1/host/up")
    assert not m.domains() and len(files(m)) == 1
    cloister("restore", "one.snap", status=FAILED)
    assert "was saved when the host went down: `cloister start` lets it go on" in cloister.said, cloister.said
    cloister("start", "--paused", "one")
    assert m.domains()["one"]["state"] == "paused" and not files(m), cloister.said
    cloister("unpause", "one")
    says(m, "one", b"d", b"CLOCK")
    # It is given up.
    for words in (("start", "--anew", "one"), ("undefine", "one")):
        cloister("host-down")
        m.request("POST", "/v1/host/up")
        assert len(files(m)) == 1 and len(tickets(m)) == 1
        cloister(*words)
        assert not files(m) and not tickets(m)
    assert m.request("GET", "/v1/domains/one").status == 404
    m.check_settled([])


def full(machine):
    """On a full disk, and one whose process does not answer: they are shut down, and nothing is left."""
    m, cloister = first_boot(machine)
    saved = m.state / "saved"
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=0700", "none", str(saved)], capture_output=True, text=True)
    if mounted.returncode != 0:
        raise unittest.SkipTest(f"no small file system can be mounted here: {mounted.stderr.strip()}")
    try:
        m.restart()
        ready(cloister, "one", epc=1)
        says(m, "one", b"f", b"FILLED")
        says(m, "one", b"b", b"LISTENS")
        ready(cloister, "hangs", epc=0)
        stop(m.domains()["hangs"]["pid"])
        cloister("host-down")
        assert "one is not saved, but shut down: No space left on device" in cloister.said, cloister.said
        assert "hangs is not saved, but shut down" in cloister.said, cloister.said
        assert m.domains() == {} and not files(m) and not tickets(m), (files(m), tickets(m))
        assert m.get("/v1/domains/one")["ending"] == "powered-off", m.get("/v1/domains/one")
        assert "goes_on" not in m.get("/v1/domains/one")
    finally:
        subprocess.run(["umount", "-l", str(saved)], check=True)
    m.check_settled([])


def deaths(machine):
    """The daemon dies between any two steps of a save, or of a start: the domain lives, or its file has its name and its one
    ticket, and never both; and it goes on from there."""
    m = machine(ROOM, prepare=record)
    cloister = Cloister(m)
    m.create("keeper", kernel="ends", epc=0)
    m.wait_for_ready("keeper")

    def settled():
        domains = m.domains()
        if "web" in domains:
            return domains["web"]["state"] == "running" and not tickets(m) and not files(m)
        return len(tickets(m)) == 1 and [name.rsplit(".", 1)[1] for name in files(m)] == ["running"]

    def check():
        if "web" not in m.domains():
            cloister("start", "web")
        goes_on(m)
        assert not tickets(m) and not files(m), (tickets(m), files(m))
        m.destroy("web")

    def running():
        ready(cloister, "web", "sgx_resident", epc=1)

    def saved():
        running()
        assert m.request("POST", "/v1/domains/web/host-save").status == 202
        wait_until(lambda: "web" not in m.domains(), "the end of web")

    die_in(m, "/v1/domains/web/host-save", running, None, settled, check)
    die_in(m, "/v1/domains/web/start", saved, {}, settled, check)


def without_enclaves(machine):
    """The same of a domain that has none: also between the file and the word to run it goes on."""
    m = machine(ROOM, prepare=record)
    cloister = Cloister(m)
    m.create("keeper", kernel="ends", epc=0)
    m.wait_for_ready("keeper")

    def settled():
        domains = m.domains()
        if "web" in domains:
            return domains["web"]["state"] == "running" and not files(m)
        return [name.rsplit(".", 1)[1] for name in files(m)] == ["running"]

    def check():
        if "web" not in m.domains():
            cloister("start", "web")
        # It is the one that was saved, with the clock that it had set, and not one that was started.
        says(m, "web", b"d", b"CLOCK 19 99")
        m.destroy("web")

    def saved():
        ready(cloister, "web", epc=0)
        says(m, "web", b"s", b"SET")
        assert m.request("POST", "/v1/domains/web/host-save").status == 202
        wait_until(lambda: "web" not in m.domains(), "the end of web")

    die_in(m, "/v1/domains/web/start", saved, {}, settled, check)


def order(machine):
    """When the host has come up its daemon starts what was saved, in its order, and `host-up` does not; what refuses a start
    takes nothing away; a snapshot that is being written when the host goes down is waited for; and what has died is not
    said to be saved."""
    m, cloister = first_boot(machine)
    for number, name in enumerate(("first", "second")):
        ready(cloister, name, epc=1)
        cloister("autostart", name, "off", "--order", str(number), "--delay", "600")
    cloister("host-down")
    for words in (("start", "first"), ("start", "--anew", "first")):
        cloister(*words, status=FAILED)
        assert "the host goes down" in cloister.said and len(files(m)) == 2 and len(tickets(m)) == 2, cloister.said
    next_boot(m)
    cloister("host-up")
    assert "goes on" not in cloister.said, cloister.said
    wait_until(lambda: "first" in m.domains() and len(files(m)) == 1, "the first one")
    assert list(m.domains()) == ["first"]
    cloister("start", "second")
    for name in ("first", "second"):
        says(m, name, b"f", b"FILLED")
    assert m.request("POST", "/v1/domains/first/snapshot", {"file": str(cloister.folder / "snap")}).status == 202
    cloister("host-down")
    for name in ("first", "second"):
        assert f"cloister: {name} is saved" in cloister.said, cloister.said
    cloister("host-up")
    pid = m.domains()["first"]["pid"]
    m.destroy("second")
    said = subprocess.Popen(cloister.command("host-down"), stderr=subprocess.PIPE, text=True)
    wait_until(lambda: any(name.endswith(".partial") for name in files(m)) or said.poll() is not None, "the beginning of the file")
    kill_pid(pid)
    said = said.communicate()[1]
    assert ("first is saved" in said) == (len(files(m)) == 1), (said, files(m))


def others(machine):
    """Nobody else's domain goes on from it, whose definition has gone; nor is it lost by another name of the state folder."""
    if os.geteuid() != 0:
        raise unittest.SkipTest("only root can be several users")
    m, cloister = first_boot(machine)
    member = Member(m)
    ready(cloister, "web", epc=0)
    uuid = m.domains()["web"]["uuid"]
    assert m.request("POST", "/v1/domains/web/host-save").status == 202
    wait_until(lambda: "web" not in m.domains(), "the end of web")
    m.kill()
    path = m.state / "definitions" / f"{uuid}.json"
    text = path.read_text()
    path.unlink()
    m.start()
    member.allow()
    config = domain_config("web", member.copy("ends.elf", m.kernel("ends")), epc=0, uuid=f'"{uuid}"')
    assert member.request("PUT", "/v1/domains/web", {"config": config, "file": "x", "directory": "/"})[0] == 201
    status, answer = member.request("POST", "/v1/domains/web/start", {})
    assert status == 400 and "it is not what its name says" in answer["error"]["message"], answer
    m.kill()
    path.write_text(text)
    m.start()
    cloister("start", "web")
    # Who may control it by [access] alone does not end its enclaves.
    m.kill()
    m.description.write_text(m.description.read_text() + '[access]\ncontrol = "group"\n')
    m.start()
    member.allow()
    m.destroy("web")
    ready(cloister, "web", epc=1)
    assert m.request("POST", "/v1/domains/web/host-save").status == 202
    wait_until(lambda: "web" not in m.domains(), "the end of web")
    for request in (("POST", "/v1/domains/web/start", {"anew": True}), ("DELETE", "/v1/domains/web/definition")):
        status, answer = member.request(*request)
        assert status == 403 and "may not change keys of 'web'" in answer["error"]["message"], (request, answer)
        assert len(files(m)) == 1 and len(tickets(m)) == 1, request
    assert member.request("POST", "/v1/domains/web/start", {})[0] == 201 and not files(m)
    # Amid the writing.
    says(m, "web", b"f", b"FILLED")
    assert m.request("POST", "/v1/domains/web/host-save").status == 202
    m.kill()
    other = m.state.with_name("alias")
    other.symlink_to(m.state)
    m.state = other
    wait_until(lambda: m.vmms() == [], "the end of its process")
    m.start()
    wait_until(lambda: files(m) == [f"{uuid}.running"], "its file")
    cloister("start", "web")


def unnamed(machine):
    """A file that is whole and cannot be given its name: its domain waits for the daemon that can, and is not started nor
    restored meanwhile; who gives it up finds nothing of it again."""
    m, cloister = first_boot(machine)
    saved = m.state / "saved"
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300m,mode=0700", "none", str(saved)], capture_output=True, text=True)
    if mounted.returncode != 0:
        raise unittest.SkipTest(f"no file system can be mounted here: {mounted.stderr.strip()}")

    def remount(how):
        subprocess.run(["mount", "-o", f"remount,{how}", str(saved)], check=True)

    def nameless():
        for _ in range(20):
            assert m.request("POST", "/v1/domains/web/host-save").status == 202
            m.kill()
            wait_until(lambda: not m.vmms(), "the end of web, which no daemon sees")
            if files(m)[0].endswith(".partial"):
                break
            m.start()  # it was named before the daemon died
            cloister("start", "web")
        remount("ro")
        m.start()
        assert [name.rsplit(".", 1)[1] for name in files(m)] == ["partial"] and len(tickets(m)) == 1, files(m)
        assert m.get("/v1/domains/web")["goes_on"] and m.domains() == {}
        for words in (("start", "web"), ("restore", "web.snap")):
            cloister(*words, status=FAILED)
            assert "could not be given its name" in cloister.said, (words, cloister.said)

    try:
        m.restart()
        ready(cloister, "web", epc=1)
        cloister("snapshot", "web", "web.snap")
        says(m, "web", b"s", b"SET")
        nameless()
        cloister("start", "--anew", "web", status=FAILED)
        assert "Read-only file system" in cloister.said and m.domains() == {}, cloister.said
        remount("rw")
        m.restart()
        assert [name.rsplit(".", 1)[1] for name in files(m)] == ["running"] and len(tickets(m)) == 1, files(m)
        assert os.listdir(m.state / "domains") == []
        cloister("start", "web")
        says(m, "web", b"d", b"CLOCK 19 99")
        assert not files(m) and not tickets(m)
        nameless()
        remount("rw")
        cloister("start", "--anew", "web")
        m.wait_for_ready("web")
        assert not files(m) and not tickets(m) and len(os.listdir(m.state / "domains")) == 1
        m.restart()
        assert not files(m) and m.domains()["web"]["state"] == "running" and m.domains()["web"]["persistent"]
        m.destroy("web")
    finally:
        subprocess.run(["umount", "-l", str(saved)], check=True)
    m.check_settled([])


CASES = {"host-save-unnamed": unnamed, "host-save-order": order, "host-save-others": others, "host-save": life, "host-save-stays": stays, "host-save-full": full, "host-save-deaths": deaths, "host-save-bare-deaths": without_enclaves}
