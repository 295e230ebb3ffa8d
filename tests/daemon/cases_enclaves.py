"""`cloister save` and `restore` of domains with their enclaves alive: they go on once, whoever dies on the way."""

import os
import signal
import subprocess
import unittest

from cases_persist import FAILED, WRONG, Cloister
from machine import stop, wait_until

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

    def kill_process(pid):
        os.kill(pid, signal.SIGKILL)

    def kill_both(pid):
        m.kill(signal.SIGKILL)
        os.kill(pid, signal.SIGKILL)
        m.start()

    for act in (kill_daemon, kill_process, kill_both):
        act(write())
        wait_until(lambda: not partial.exists(), "the end of the writing")
        if file.exists():
            wait_until(lambda: "web" not in m.domains(), "the end of web")
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


CASES = {"save-enclaves": life, "restore-enclaves": restored, "save-enclaves-full": full, "save-enclaves-cut": cut}
