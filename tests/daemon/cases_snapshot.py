"""`cloister snapshot`: a domain is in a file, and goes on with its enclaves; what is in the file goes on without them, as often
as one likes, and never beside the domain."""

import os
import signal

from cases_disks import image, on
from cases_ends import press, says
from cases_live_enclaves import goes_on
from cases_persist import FAILED, WRONG, Cloister
from machine import wait_until

ROOM = "[[package]]\nepc = [{ base = 0x1_0000_0000, size = 8 }]\n"
# A frame for each page, and EPC that is paged.
KINDS = ({"epc": 1}, {"epc": 4, "epc_min": 1})


def ready(m, name="web", kernel="ends", **more):
    answer = m.create(name, kernel=kernel, **more)
    m.wait_for_ready(name)
    return answer


def life(machine):
    """Its enclave counts on without a step that is lost or taken twice, and what is restored finds its own lost."""
    m = machine(ROOM)
    cloister = Cloister(m)
    for number, kind in enumerate(KINDS):
        first = ready(m, kernel="sgx_counting", **kind)
        for turn in range(3):
            file = f"web{number}{turn}.snap"
            if turn == 2:
                cloister("pause", "web")
            cloister("snapshot", "web", file)
            assert cloister.said == f"cloister: a snapshot of web is in {file}, without its enclaves, which go on with it\n", cloister.said
            assert (cloister.folder / file).stat().st_mode & 0o7777 == 0o600 and not os.listdir(m.state / "tickets")
            now = m.domains()["web"]
            assert now["state"] == ("paused" if turn == 2 else "running") and now["pid"] == first["pid"], now
            assert m.get("/v1/domains/web")["save"] == {"file": str(cloister.folder / file), "going": False, "enclaves": "lose", "snapshot": True}
            m.check_settled(["web"])
            if turn == 2:
                cloister("unpause", "web")
            goes_on(m)
        # A daemon after this one knows nothing of it any more, and the enclaves can be kept afterwards.
        m.restart()
        cloister("save", "web", f"web{number}.saved")
        assert cloister.said.endswith(", with its enclaves\n"), cloister.said
        cloister("restore", f"web{number}.saved")
        goes_on(m)
        cloister("destroy", "web")
        for _ in range(2):
            cloister("restore", "--enclaves=keep", f"web{number}0.snap", status=FAILED)
            assert "it is a snapshot, in which no enclaves are" in cloister.said, cloister.said
            cloister("restore", f"web{number}0.snap")
            assert f"web goes on from web{number}0.snap, a snapshot, domain" in cloister.said, cloister.said
            assert "the enclaves that it had are lost" in cloister.said, cloister.said
            wait_until(lambda: b"WRONG" in m.console("web") or "web" not in m.domains(), "the guest that finds its enclaves lost")
            if "web" in m.domains():
                cloister("destroy", "web")
        m.check_settled([])


def beside(machine):
    """Not while the domain lives, whatever it is called; as the one that is defined; and of no domain whose disks change."""
    m = machine(ROOM)
    cloister = Cloister(m)
    file = cloister.folder / "web.snap"
    first = ready(m, epc=1)
    says(m, "web", b"s", b"SET")
    cloister("snapshot", "web", "web.snap")
    says(m, "web", b"d", b"CLOCK")
    same = f"'{file}': there is a domain 'web' already, of the same uuid: what is in the file goes on when that one has ended"
    cloister("restore", "web.snap", status=FAILED)
    assert same in cloister.said, cloister.said
    cloister("rename", "web", "other")
    cloister("restore", "web.snap", status=FAILED)
    assert same.replace("'web'", "'other'") in cloister.said, cloister.said
    # Another one of its name.
    m.destroy("other")
    ready(m, epc=0)
    cloister("restore", "web.snap", status=FAILED)
    assert "there is a domain 'web' already" in cloister.said, cloister.said
    m.destroy("web")
    for _ in range(2):
        cloister("restore", "web.snap")
        assert m.domains()["web"]["uuid"] == first["uuid"]
        says(m, "web", b"d", b"CLOCK")
        # From a snapshot of a snapshot, too.
        again = cloister.folder / "again.snap"
        cloister("snapshot", "web", "again.snap")
        m.destroy("web")
        cloister("restore", "again.snap")
        says(m, "web", b"d", b"CLOCK")
        m.destroy("web")
        again.unlink()
    ready(m, epc=0)
    cloister("snapshot", "web", "web.snap", status=WRONG)
    assert "File exists" in cloister.said, cloister.said
    answer = m.request("POST", "/v1/domains/web/snapshot", {"file": str(file), "enclaves": "lose"})
    assert answer.status == 400 and "a snapshot has none" in answer.json["error"]["message"], answer.body
    m.destroy("web")
    # One that is defined.
    cloister.define("one")
    cloister("start", "one")
    m.wait_for_ready("one")
    cloister("snapshot", "one", "one.snap")
    cloister("restore", "one.snap", status=FAILED)
    assert "there is a domain 'one' already" in cloister.said, cloister.said
    m.destroy("one")
    cloister("restore", "one.snap")
    assert m.get("/v1/domains/one")["persistent"]
    m.destroy("one")
    # Its disks.
    disk = image(m, "root.img")
    ready(m, epc=0, disk=on(disk))
    cloister("snapshot", "web", "disk.snap", status=FAILED)
    assert "its disk xvda is not part of a snapshot and changes when it goes on" in cloister.said, cloister.said
    assert not (cloister.folder / "disk.snap").exists() and m.domains()["web"]["state"] == "running"
    m.destroy("web")
    ready(m, epc=0, disk=on(disk, "ro"))
    cloister("snapshot", "web", "disk.snap")
    cloister("restore", "disk.snap", status=FAILED)
    assert "there is a domain 'web' already, of the same uuid" in cloister.said, cloister.said
    m.destroy("web")
    cloister("restore", "disk.snap")
    m.destroy("web")
    m.check_settled([])


def cut(machine):
    """Whatever is ended amid the writing: the domain goes on, or has ended as it was told to; the file is there if all of it is."""
    m = machine(ROOM)
    cloister = Cloister(m)
    file, partial = cloister.folder / "late", cloister.folder / "late.partial"

    def begin():
        ready(m, epc=1, memory=512)
        says(m, "web", b"f", b"FILLED")
        write()

    def write():
        answer = m.request("POST", "/v1/domains/web/snapshot", {"file": str(file)})
        assert answer.status == 202, answer.body
        wait_until(lambda: partial.stat().st_size > 0, "the beginning of the file")
        assert not file.exists()

    def over():
        wait_until(lambda: "web" not in m.domains(), "the end of web")
        wait_until(lambda: not partial.exists(), "the end of its file")
        assert not file.exists()

    # The daemon alone: the next one gives the file its name, and the domain goes on in any case.
    begin()
    m.kill(signal.SIGKILL)
    m.start()
    wait_until(lambda: file.exists(), "the file")
    wait_until(lambda: m.domains()["web"]["state"] == "running", "that it goes on")
    assert not partial.exists()
    says(m, "web", b"d", b"CLOCK")
    file.unlink()
    write()
    pid = m.domains()["web"]["pid"]
    os.kill(pid, signal.SIGKILL)
    over()
    begin()
    m.destroy("web")
    over()
    begin()
    pid = m.domains()["web"]["pid"]
    m.kill(signal.SIGKILL)
    os.kill(pid, signal.SIGKILL)
    m.start()
    over()
    # SIGTERM ends the writing first, and then the domain.
    begin()
    os.kill(m.domains()["web"]["pid"], signal.SIGTERM)
    wait_until(lambda: not partial.exists(), "the end of its file")
    assert not file.exists()
    if "web" in m.domains():
        m.destroy("web")
    # Somebody else takes the name meanwhile: what is written stays beside it.
    begin()
    file.write_text("text")
    wait_until(lambda: not m.get("/v1/domains/web")["save"]["going"], "the end of the writing")
    assert "File exists" in m.get("/v1/domains/web")["save"]["failed"], m.get("/v1/domains/web")
    assert file.read_text() == "text" and partial.exists() and m.domains()["web"]["state"] == "running"
    press(m, "web", b"d")
    m.destroy("web")
    m.check_settled([])


CASES = {"snapshot": life, "snapshot-beside": beside, "snapshot-cut": cut}
