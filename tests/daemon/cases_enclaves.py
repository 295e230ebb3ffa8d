"""`cloister save` and `restore` of domains with their enclaves alive: they go on once, whoever dies on the way."""

import os
import signal
import subprocess
import unittest

import power_cut
from cases_persist import FAILED, Cloister
from machine import kill_pid, some, wait_until
from recording import IN_A_ROW, PATIENCE, Victim, reap_orphans_but, record

ROOM = "[[package]]\nepc = [{ base = 0x1_0000_0000, size = 8 }]\n"
# A frame for each page, and EPC that is paged.
KINDS = ({"epc": 1}, {"epc": 4, "epc_min": 1})


def tickets(m):
    return sorted(path.name for path in (m.state / "tickets").iterdir())


def ready(m, name, **more):
    answer = m.create(name, kernel="sgx_resident", **more)
    m.wait_for_ready(name)
    return answer


def goes_on(m, name, text=b"echo"):
    """Its guest builds enclaves all the time, and is in the middle of one; each has the key that the first one had."""
    m.type_into(name, text)
    assert b"WRONG" not in m.console(name), m.console(name)


def life(machine):
    """Once from each file, and without them as often as one likes."""
    m = machine(ROOM)
    cloister = Cloister(m)
    for kind in KINDS:
        first = ready(m, "web", vcpus=2, **kind)
        for hop in range(3):
            file = f"web{hop}.saved"
            cloister("save", "web", file)
            assert cloister.said == f"cloister: web is saved in {file}, with its enclaves\n", cloister.said
            assert m.get(f"/v1/domains/{first['uuid']}")["save"]["enclaves"] == "keep"
            assert len(tickets(m)) == 1 and (m.state / "tickets" / tickets(m)[0]).stat().st_mode & 0o7777 == 0o600
            m.check_settled([])
            cloister("restore", file)
            assert cloister.said.endswith(", with its enclaves\n") and not tickets(m), (cloister.said, tickets(m))
            goes_on(m, "web")
        cloister("destroy", "web")
        for enclaves in ((), ("--enclaves=keep",)):
            cloister("restore", *enclaves, "web2.saved", status=FAILED)
            assert "its ticket is spent" in cloister.said and "--enclaves=lose" in cloister.said, cloister.said
        for _ in range(2):
            cloister("restore", "--enclaves=lose", "web2.saved")
            assert "the enclaves that it had are lost" in cloister.said, cloister.said
            cloister("destroy", "web")
        for hop in range(3):
            (cloister.folder / f"web{hop}.saved").unlink()
        m.check_settled([])
    # Who wants none has none, and a domain without EPC has none to keep.
    ready(m, "web", epc=1)
    cloister("save", "--enclaves=lose", "web", "web.saved")
    assert cloister.said.endswith(", without its enclaves\n") and not tickets(m), cloister.said
    cloister("restore", "--enclaves=keep", "web.saved", status=FAILED)
    assert "it was saved without its enclaves" in cloister.said, cloister.said
    cloister("restore", "web.saved")
    cloister("destroy", "web")
    m.create("zz", kernel="ends", epc=0)
    m.wait_for_ready("zz")
    cloister("save", "--enclaves=keep", "zz", "zz.saved", status=FAILED)
    assert "its enclaves cannot be saved: it has no EPC" in cloister.said and not tickets(m), cloister.said
    cloister("save", "zz", "zz.saved")
    cloister("restore", "zz.saved")
    m.destroy("zz")
    m.check_settled([])


def restored(machine):
    """What is refused, paused or undone leaves the ticket as it was; a guest that has not run can be told to by the next daemon."""
    m = machine(ROOM)
    cloister = Cloister(m)
    ready(m, "web", epc=1)
    cloister("save", "web", "web.saved")
    # Not enough EPC.
    m.create("large", kernel="ends", epc=8)
    cloister("restore", "web.saved", status=FAILED)
    assert len(tickets(m)) == 1, tickets(m)
    m.destroy("large")
    cloister("restore", "--paused", "web.saved")
    assert not tickets(m)
    m.restart()
    assert m.domains()["web"]["state"] == "paused"
    cloister("unpause", "web")
    goes_on(m, "web")
    m.destroy("web")
    m.check_settled([])


def full(machine):
    """On a full disk, when its enclaves have left: they come back, and the file that is not there has no ticket."""
    m = machine(ROOM)
    cloister = Cloister(m)
    disk = cloister.folder / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "none", str(disk)], capture_output=True, text=True)
    if mounted.returncode != 0:
        raise unittest.SkipTest(f"no small file system can be mounted here: {mounted.stderr.strip()}")
    try:
        for kind in KINDS:
            ready(m, "web", **kind)
            (disk / "filler").write_bytes(bytes(500 << 10))
            for _ in range(2):
                cloister("save", "web", "disk/web.saved", status=FAILED)
                assert cloister.said.startswith("cloister: web was not saved: No space left on device"), cloister.said
                assert os.listdir(disk) == ["filler"] and not tickets(m)
                assert m.domains()["web"]["state"] == "running"
                goes_on(m, "web")
            m.destroy("web")
            (disk / "filler").unlink()
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)
    m.check_settled([])


def cut(machine):
    """Daemon, process, or both end amid the writing: it goes on, or its file has its name and one ticket, or neither."""
    m = machine(ROOM)
    cloister = Cloister(m)
    file, partial = cloister.folder / "web.saved", cloister.folder / "web.saved.partial"

    def write():
        ready(m, "web", epc=1)
        pid = m.domains()["web"]["pid"]
        answer = m.request("POST", "/v1/domains/web/save", {"file": str(file)})
        assert answer.status == 202, answer.body
        return pid

    def kill_daemon(_):
        m.kill(signal.SIGKILL)
        m.start()

    def kill_both(pid):
        m.kill(signal.SIGKILL)
        kill_pid(pid)
        m.start()

    for act in (kill_daemon, kill_pid, kill_both):
        act(write())
        wait_until(lambda: not partial.exists(), "the end of the writing")
        if file.exists() or act is not kill_daemon:
            wait_until(lambda: "web" not in m.domains(), "the end of web")
        if file.exists():
            assert len(tickets(m)) == 1, tickets(m)
            cloister("restore", "web.saved")
            goes_on(m, "web")
            file.unlink()
        else:
            wait_until(lambda: not tickets(m), "the end of the ticket")
        if "web" in m.domains():
            goes_on(m, "web")
            m.destroy("web")
        m.check_settled([])


def die_in(m, path, prepare, body, settled, check):
    """The daemon is killed between any two steps of a request (without CLOISTER_FULL, between every third two); the next
    one comes, and all is `settled` and found so."""
    def begin(death):
        prepare()
        seen = m.steps.stat().st_size
        m.death.write_text(death)
        return seen, Victim(m, "POST", path, body)

    seen, victim = begin("before 1000000")
    assert victim.finish() in (201, 202)
    wait_until(settled, "the end of what is undisturbed")
    steps = [line for line in power_cut.read_lines(m.steps, seen) if line.what in power_cut.STEPS]
    m.death.write_text("")
    check()
    deaths = [(f"{when} {number}", step) for number, (last, step) in enumerate(zip([None, *steps], steps), 1)
              for when in ("before", "after") if when == "after" or last is None or (last.what, step.what) not in IN_A_ROW]
    tried = some(deaths, len(deaths) // 3)
    for death, step in tried:
        what = f"{path}, {death} of {len(steps)}: {step.what} {step.path}"
        _, victim = begin(death)
        victim.finish()
        assert m.process.wait(PATIENCE) == -signal.SIGKILL, what
        m.death.write_text("")
        m.start()
        wait_until(settled, what)
        try:
            check()
        except AssertionError as error:
            raise AssertionError(what) from error
        reap_orphans_but(m)
    print(f"{path}: {len(steps)} steps, {len(tried)} of {len(deaths)} deaths")


def deaths(machine):
    """A daemon that dies between any two steps of a save or a restore: the domain lives, or its file has its one ticket,
    and never both."""
    m = machine(ROOM, prepare=record)
    cloister = Cloister(m)
    file, partial = cloister.folder / "web.saved", cloister.folder / "web.saved.partial"
    m.create("keeper", kernel="ends", epc=0)
    m.wait_for_ready("keeper")

    def settled():
        domains = m.domains()
        if "web" in domains:
            # Of a file that was just being made nobody knows: it is empty.
            return domains["web"]["state"] == "running" and not tickets(m) and (not partial.exists() or partial.stat().st_size == 0)
        return file.exists() and not partial.exists() and len(tickets(m)) == 1

    def check():
        if "web" not in m.domains():
            cloister("restore", "web.saved")
        goes_on(m, "web")
        assert not tickets(m), tickets(m)
        m.destroy("web")
        file.unlink(missing_ok=True)
        partial.unlink(missing_ok=True)

    def saved():
        ready(m, "web", epc=1)
        cloister("save", "web", "web.saved")

    die_in(m, "/v1/restore", saved, {"file": str(file)}, settled, check)
    die_in(m, "/v1/domains/web/save", lambda: ready(m, "web", epc=1), {"file": str(file)}, settled, check)


CASES = {"save-enclaves-deaths": deaths, "save-enclaves": life, "restore-enclaves": restored, "save-enclaves-full": full, "save-enclaves-cut": cut}
