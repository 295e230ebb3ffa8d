"""`cloister save` and `restore`: a domain ends in a file and goes on from it, or goes on at once and leaves no file."""

import os
import resource
import signal
import subprocess
import unittest

from cases_ends import press, says
from cases_persist import FAILED, WRONG, Cloister
from machine import stop, wait_until

ROOM = "[[package]]\nepc = [{ base = 0x1_0000_0000, size = 8 }]\n"


def ready(m, name, **more):
    answer = m.create(name, kernel="ends", **more)
    m.wait_for_ready(name)
    return answer


def ending(m, name):
    return [line for line in m.log.read_text().splitlines() if f"event=domain-ended domain={name} " in line][-1]


def life(machine):
    """Twice from the same file; what it had printed is printed, what it knew it knows, and its uuid is its own."""
    m = machine(ROOM)
    cloister = Cloister(m)
    first = ready(m, "web", epc=1, vcpus=2)
    says(m, "web", b"s", b"SET")
    saved = cloister.folder / "web.saved"
    cloister("save", "--enclaves=lose", "web", "web.saved")
    assert cloister.said == "cloister: web is saved in web.saved, without its enclaves\n", cloister.said
    assert saved.stat().st_mode & 0o7777 == 0o600
    assert " ending=saved" in ending(m, "web"), ending(m, "web")
    m.check_settled([])
    last = m.get(f"/v1/domains/{first['uuid']}")
    assert last["state"] == "ended" and last["ending"] == "saved" and last["save"] == {"file": str(saved), "going": False, "enclaves": "lose"}, last
    assert m.request("GET", "/v1/domains/web").status == 404
    # Nothing of the guest is to be seen in it.
    contents = saved.read_bytes()
    assert contents.startswith(b"CLSEALED") and b"READY" not in contents and b"web" not in contents
    for _ in range(2):
        cloister("restore", "web.saved")
        assert "web goes on from web.saved" in cloister.said, cloister.said
        again = m.get("/v1/domains/web")
        assert (again["uuid"], again["state"], again["vcpus"], again["epc_mib"]) == (first["uuid"], "running", 2, 1), again
        says(m, "web", b"d", b"CLOCK")
        cloister("restore", "web.saved", status=FAILED)
        assert "web.saved': there is a domain 'web' already" in cloister.said, cloister.said
        m.check_settled(["web"])
        m.destroy("web")
    # From there a reset starts it anew, and a new daemon finds it; paused it waits, and can be saved before it has run.
    cloister("restore", "--paused", "web.saved")
    m.restart()
    assert m.domains()["web"]["state"] == "paused"
    cloister("save", "--enclaves=lose", "web", "again.saved")
    cloister("restore", "--paused", "again.saved")
    cloister("unpause", "web")
    press(m, "web", b"r")
    m.wait_for_ready("web")
    cloister("pause", "web")
    cloister("save", "web", "other.saved")
    cloister("restore", "other.saved")
    says(m, "web", b"d", b"CLOCK")
    m.destroy("web")
    # A guest that sleeps goes on sleeping.
    ready(m, "zz", epc=0)
    press(m, "zz", b"z")
    wait_until(lambda: m.domains()["zz"]["state"] == "suspended", "suspended")
    cloister("save", "zz", "zz.saved")
    cloister("restore", "zz.saved")
    wait_until(lambda: m.domains()["zz"]["state"] == "suspended", "suspended again")
    cloister("wake", "zz")
    m.wait_for_ready("zz")
    m.destroy("zz")
    m.check_settled([])


def persist(machine):
    """One that is defined is shut off, and goes on as that, with the text that it had."""
    m = machine(ROOM)
    cloister = Cloister(m)
    cloister.define("one")
    cloister("start", "one")
    m.wait_for_ready("one")
    cloister("save", "one", "one.saved")
    off = m.get("/v1/domains/one")
    assert (off["state"], off["ending"]) == ("shut off", "saved"), off
    cloister.define("one", memory=128)
    cloister("restore", "one.saved")
    on = m.get("/v1/domains/one")
    assert on["uuid"] == off["uuid"] and on["persistent"] and on["differs"] == ["memory"] and on["memory_mib"] == 64, on
    m.type_into("one", b"echo")
    m.destroy("one")
    m.check_settled([])


def refused(machine):
    """What cannot be: files that are there or cannot be made, that are cut or altered, of another daemon, and a machine that
    has not what the domain had."""
    m = machine(ROOM)
    cloister = Cloister(m)
    ready(m, "web", epc=1)
    (cloister.folder / "there").write_text("text")
    (cloister.folder / "link").symlink_to(cloister.folder / "nowhere")
    os.mkfifo(cloister.folder / "pipe")
    (cloister.folder / "folder").mkdir()
    for name in ("there", "link", "pipe", "folder"):
        cloister("save", "web", name, status=WRONG)
        assert "File exists" in cloister.said, cloister.said
    cloister("save", "web", "none/file", status=WRONG)
    assert "No such file" in cloister.said, cloister.said
    assert not (cloister.folder / "nowhere").exists() and m.domains()["web"]["state"] == "running"
    cloister("save", "web", "web.saved")
    whole = (cloister.folder / "web.saved").read_bytes()
    other = cloister.folder / "other"

    def is_refused(why):
        cloister("restore", "other", status=WRONG)
        assert why in cloister.said and str(other) in cloister.said, cloister.said
        m.check_settled([])

    is_refused("No such file")
    os.mkfifo(other)
    is_refused("not a regular file")
    other.unlink()
    for size in (0, 9, 47):
        other.write_bytes(whole[:size])
        is_refused("no sealed domain's header")
    for size in (48, 1000, len(whole) - 1):
        other.write_bytes(whole[:size])
        is_refused("ends before its last frame")
    for at in (20, 100, len(whole) // 2, len(whole) - 1):
        other.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1:])
        is_refused("it was altered, or sealed with another key")
    stranger = machine(ROOM)
    answer = stranger.request("POST", "/v1/restore", {"file": str(cloister.folder / "web.saved")})
    assert answer.status == 400 and "sealed with another key" in answer.json["error"]["message"], answer.body
    # Its owner may run it on another processor; its guest may not find one.
    m.kill(signal.SIGTERM)
    m.description.write_text('silicon = "skylake-client"\n' + ROOM)
    m.start()
    cloister("restore", "web.saved", status=WRONG)
    assert "it is not the domain that was saved" in cloister.said, cloister.said
    m.check_settled([])


def force(machine):
    """What was saved before may be replaced, by its owner, and nothing else; it goes when the new file is whole."""
    m = machine(ROOM)
    cloister = Cloister(m)
    saved = cloister.folder / "web.saved"
    ready(m, "web", epc=1)
    cloister("save", "--force", "web", "web.saved")
    first = saved.read_bytes()
    cloister("restore", "--enclaves=lose", "web.saved")
    cloister("save", "web", "web.saved", status=WRONG)
    assert "File exists" in cloister.said, cloister.said
    (cloister.folder / "there").write_text("text")
    (cloister.folder / "short").write_text("CLSEAL")
    (cloister.folder / "link").symlink_to(saved)
    os.mkfifo(cloister.folder / "pipe")
    (cloister.folder / "folder").mkdir()
    for verb in ("save", "snapshot"):
        for name, why in (("there", "not what was saved of a domain"), ("short", "not what was saved of a domain"),
                          ("link", "not a regular file"), ("pipe", "not a regular file"), ("folder", "not a regular file")):
            cloister(verb, "--force", "web", name, status=WRONG)
            assert why in cloister.said, cloister.said
    if os.geteuid() == 0:
        others = cloister.folder / "others"
        others.write_bytes(first)
        os.chown(others, 12345, -1)
        cloister("save", "--force", "web", "others", status=WRONG)
        assert "another user's" in cloister.said and others.read_bytes() == first, cloister.said
    assert saved.read_bytes() == first and (cloister.folder / "there").read_text() == "text"
    assert m.domains()["web"]["state"] == "running"
    cloister("snapshot", "--force", "web", "web.saved")
    second = saved.read_bytes()
    assert second != first and second.startswith(b"CLSEALED") and m.domains()["web"]["state"] == "running"
    cloister("save", "--force", "--enclaves=lose", "web", "web.saved")
    assert saved.read_bytes() not in (first, second)
    cloister("restore", "web.saved")
    says(m, "web", b"d", b"CLOCK")
    m.destroy("web")
    m.check_settled([])


def failed(machine):
    """On a full disk a domain leaves no file, and goes on."""
    m = machine(ROOM)
    cloister = Cloister(m)
    disk = cloister.folder / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(disk)], capture_output=True, text=True)
    if mounted.returncode != 0:
        raise unittest.SkipTest(f"no small file system can be mounted here: {mounted.stderr.strip()}")
    try:
        ready(m, "web", epc=1)
        (disk / "filler").write_bytes(bytes(252 << 10))
        for _ in range(2):
            cloister("save", "web", "disk/web.saved", status=FAILED)
            assert cloister.said.startswith("cloister: web was not saved: No space left on device"), cloister.said
            assert os.listdir(disk) == ["filler"]
            assert m.domains()["web"]["state"] == "running"
            before = m.console("web").count(b"CLOCK")
            press(m, "web", b"d")
            wait_until(lambda: m.console("web").count(b"CLOCK") > before, "CLOCK")
        # What it was to replace stays.
        old = disk / "old.saved"
        (disk / "filler").write_bytes(bytes(248 << 10))
        old.write_bytes(b"CLSEALED, and what follows")
        cloister("save", "--force", "web", "disk/old.saved", status=FAILED)
        assert "No space left on device" in cloister.said and os.listdir(disk) in (["filler", "old.saved"], ["old.saved", "filler"])
        assert old.read_bytes() == b"CLSEALED, and what follows"
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)
    m.destroy("web")
    m.check_settled([])


def cut(machine):
    """Whatever is ended amid a domain's writing: it goes on, or all of it is in the file, or it has ended as it was told to."""
    m = machine(ROOM)
    cloister = Cloister(m)
    file, partial = cloister.folder / "late", cloister.folder / "late.partial"

    def begin():
        uuid = ready(m, "web", epc=1, memory=512)["uuid"]
        says(m, "web", b"f", b"FILLED")
        pid = m.domains()["web"]["pid"]
        return uuid, pid

    def write(old=None):
        answer = m.request("POST", "/v1/domains/web/save", {"file": str(file), "replace": old is not None})
        assert answer.status == 202, answer.body
        wait_until(lambda: partial.stat().st_size > 0, "the beginning of the file")
        assert file.read_bytes() == old if old else not file.exists()

    # As much as a file may have, for whoever the daemon starts.
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (256 << 20, before[1]))
    m.restart()
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    begin()
    cloister("save", "web", "late", status=FAILED)
    assert "web was not saved: File too large" in cloister.said, cloister.said
    assert not file.exists() and not partial.exists() and m.domains()["web"]["state"] == "running"
    says(m, "web", b"d", b"CLOCK")
    m.destroy("web")
    m.restart()
    for act, how in ((lambda pid: m.destroy("web"), "destroyed"), (lambda pid: os.kill(pid, signal.SIGKILL), "vmm-died")):
        uuid, pid = begin()
        write()
        assert m.get("/v1/domains/web")["state"] == "saving"
        act(pid)
        wait_until(lambda: "web" not in m.domains(), "the end of web")
        last = m.get(f"/v1/domains/{uuid}")
        assert last["state"] == "ended" and last["save"]["failed"] == f"it has ended: {how}", last
        assert not file.exists() and not partial.exists()
    # SIGTERM ends the saving first, and then the domain.
    uuid, pid = begin()
    write()
    os.kill(pid, signal.SIGTERM)
    wait_until(lambda: not m.get(f"/v1/domains/{uuid}")["save"]["going"], "the end of the saving")
    assert m.get(f"/v1/domains/{uuid}")["save"]["failed"] == "it was to end", m.get(f"/v1/domains/{uuid}")
    assert not file.exists() and not partial.exists()
    m.destroy("web")
    # A daemon that dies meanwhile: the next one finds it, and names the file, in the place of the one that it replaces.
    uuid, pid = begin()
    old = b"CLSEALED, and what follows"
    file.write_bytes(old)
    write(old)
    m.kill(signal.SIGKILL)
    m.start()
    wait_until(lambda: file.stat().st_size > len(old), "the file")
    assert not partial.exists()
    wait_until(lambda: m.get(f"/v1/domains/{uuid}")["save"]["going"] is False, "the end of the saving")
    last = m.get(f"/v1/domains/{uuid}")
    assert "failed" not in last["save"] and last["state"] == "ended", last
    cloister("restore", "late")
    says(m, "web", b"d", b"CLOCK")
    file.unlink()
    # Both die: the next daemon removes it.
    write()
    pid = m.domains()["web"]["pid"]
    m.kill(signal.SIGKILL)
    os.kill(pid, signal.SIGKILL)
    m.start()
    wait_until(lambda: not partial.exists() and "web" not in m.domains(), "the end of both")
    assert not file.exists()
    ready(m, "web", epc=1)
    # Not in time to be saved: it goes on, as soon as it can, or ends as it was told.
    def go_on(pid):
        os.kill(pid, signal.SIGCONT)

    for act in (go_on, lambda pid: m.destroy("web"), lambda pid: os.kill(pid, signal.SIGKILL)):
        pid = m.domains()["web"]["pid"]
        stop(pid)
        answer = m.request("POST", "/v1/domains/web/save", {"file": str(file)})
        assert answer.status == 500, answer.body
        assert not file.exists() and not partial.exists()
        act(pid)
        if act is go_on:
            wait_until(lambda: m.domains()["web"]["state"] == "running", "the answer of web")
            says(m, "web", b"d", b"CLOCK")
            assert not file.exists() and not partial.exists()
            continue
        wait_until(lambda: "web" not in m.domains(), "the end of web")
        ready(m, "web", epc=1)
    m.destroy("web")
    m.check_settled([])


def host_down(machine):
    """The host goes down while a domain is being saved: it is saved, unless its host ends it at once."""
    m = machine(ROOM)
    cloister = Cloister(m)
    file, partial = cloister.folder / "late", cloister.folder / "late.partial"
    for action, whole in (("shutdown", True), ("destroy", False)):
        ready(m, "web", epc=1, memory=512, on_host_shutdown=f'"{action}"')
        says(m, "web", b"f", b"FILLED")
        answer = m.request("POST", "/v1/domains/web/save", {"file": str(file)})
        assert answer.status == 202, answer.body
        wait_until(lambda: partial.stat().st_size > 0, "the beginning of the file")
        if not whole:
            stop(m.domains()["web"]["pid"])  # it is not done before it is ended
        cloister("host-down")
        assert m.domains() == {} and file.exists() == whole and not partial.exists(), os.listdir(cloister.folder)
        cloister("host-up")
        assert len(os.listdir(m.state / "tickets")) == int(whole)
        if whole:
            cloister("restore", "late")
            says(m, "web", b"d", b"CLOCK")
            m.destroy("web")
            file.unlink()
        m.check_settled([])


def waits(machine):
    """What was restored and waits has a guest that has run: it hears its power button, from its process and as the host goes
    down."""
    m = machine(ROOM)
    cloister = Cloister(m)
    ready(m, "web", epc=0, shutdown_timeout=3600)
    says(m, "web", b"b", b"LISTENS")
    cloister("save", "web", "web.saved")
    for end in (lambda: os.kill(m.domains()["web"]["pid"], signal.SIGTERM), lambda: cloister("host-down")):
        cloister("restore", "--paused", "web.saved")
        m.restart()
        assert m.domains()["web"]["state"] == "paused" and m.domains()["web"]["goes_on"], m.domains()
        end()
        wait_until(lambda: "web" not in m.domains(), "the end of web")
        assert " ending=powered-off" in ending(m, "web"), ending(m, "web")
    m.check_settled([])


CASES = {"save": life, "save-host-down": host_down, "save-persist": persist, "save-refused": refused, "save-force": force, "save-waits": waits, "save-failed": failed, "save-cut": cut}
