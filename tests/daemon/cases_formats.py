"""Disks of other formats than raw: who serves them, with which rights, what else that process may, and that it ends with
the domain."""

import os
import signal
import subprocess
import time
import unittest
from pathlib import Path

import cases_disks
from cases_boot import create as create_booted
from cases_boot import image as ext_image
from cases_boot import is_resident, need_tools, restarted
from cases_disks import refused
from cases_ends import press
from cases_owner import GROUP, MACHINE, MEMBER, Member
from machine import PATIENCE, stop, wait_until


def need_qemu():
    if not (os.path.exists("/usr/bin/qemu-nbd") and os.path.exists("/usr/bin/qemu-img")):
        raise unittest.SkipTest("qemu-utils is not there")


def made(path, *options, size="64M"):
    subprocess.run(["/usr/bin/qemu-img", "create", "-q", "-f", "qcow2", *options, path, size], check=True)
    return path


def on(path, access="rw", kind="qcow2"):
    return f'["format={kind},vdev=xvda,access={access},target={path}"]'


def servers(path):
    """The processes qemu-nbd that serve this image."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if os.readlink(process / "exe") == "/usr/bin/qemu-nbd" and os.readlink(process / "fd/4") == str(path):
                found.append(int(process.name))
        except OSError:
            continue
    return found


def life(machine):
    """An image is served as long as its domain is there, through reboots and new daemons, and is free as soon as that is
    over, however it ended. When what serves it dies, the guest has a disk with errors, and goes on."""
    need_qemu()
    m = machine()
    disk = made(m.state.parent / "disk.qcow2")
    m.create("one", epc=0, disk=on(disk))
    m.wait_for_ready("one")
    assert m.get("/v1/domains/one")["state"] == "running"
    (server,) = servers(disk)
    message = refused(m, "two", on(disk))
    assert message == f"cannot use disk '{disk}': domain 'one' uses it", message
    assert m.request("POST", "/v1/domains/one/reboot").status == 200
    wait_until(lambda: m.domains()["one"]["restarts"] == 1, "the reboot")
    m.restart()
    assert servers(disk) == [server]
    os.kill(m.domains()["one"]["pid"], signal.SIGKILL)
    wait_until(lambda: "one" not in m.domains() and servers(disk) == [], "the ends of one and its server")
    for _ in range(3):  # at once
        m.create("one", epc=0, disk=on(disk))
        m.destroy("one")
    m.create("one", epc=0, disk=on(disk))
    m.wait_for_ready("one")
    os.kill(servers(disk)[0], signal.SIGKILL)
    assert m.request("POST", "/v1/domains/one/pause").status == 200
    assert m.request("POST", "/v1/domains/one/unpause").status == 200
    m.destroy("one")
    m.create("reads", epc=0, disk=on(disk, "ro"))
    m.create("reads-too", epc=0, disk=on(disk, "ro"))
    assert len(servers(disk)) == 2
    m.destroy("reads")
    m.destroy("reads-too")
    wait_until(lambda: servers(disk) == [], "the ends of those that serve")
    m.check_settled([])


def silent(machine):
    """What serves the image stops. Whoever pauses the domain is told so, and it runs on; CLOISTER_FULL: after a minute the
    guest has a disk with errors, and can be paused."""
    need_qemu()
    m = machine()
    disk = made(m.state.parent / "disk.qcow2")
    m.create("one", kernel="writing", epc=0, disk=on(disk))
    m.wait_for_ready("one")
    press(m, "one", b"n")
    wait_until(lambda: b"FLUSHED" in m.console("one"), "a flush")
    (server,) = servers(disk)
    stop(server)

    def not_paused():
        """Once it has asked for something."""
        answer = m.request("POST", "/v1/domains/one/pause")
        return answer if answer.status != 200 or m.request("POST", "/v1/domains/one/unpause").status != 200 else None

    answer = wait_until(not_paused, "a pause that is refused")
    assert answer.status == 409 and "a disk is not done with what its guest has asked" in answer.json["error"]["message"], answer.body
    assert m.domains()["one"]["state"] == "running" and b"failed" not in m.console("one")
    if m.settings.full:
        start = time.monotonic()
        failed = lambda: b"the disk has failed" in m.console("one")
        while not failed() and time.monotonic() < start + 2 * PATIENCE + 30:
            time.sleep(1)
        assert failed() and m.request("POST", "/v1/domains/one/pause").status == 200
        assert m.request("POST", "/v1/domains/one/unpause").status == 200
        # And from then on at once.
        fails = m.console("one").count(b"has failed")
        wait_until(lambda: m.console("one").count(b"has failed") > fails + 20, "more errors")
    m.destroy("one")
    os.kill(server, signal.SIGCONT)
    wait_until(lambda: servers(disk) == [], "the end of what served it")
    m.check_settled([])


def refusals(machine):
    need_qemu()
    m = machine()
    folder = m.state.parent
    disk = made(folder / "disk.qcow2")
    backed = made(folder / "backed.qcow2", "-b", disk, "-F", "qcow2")
    assert "its header names another file" in refused(m, "one", on(backed), 400)
    assert "qemu-nbd: " in refused(m, "one", on(disk, kind="vhdx"), 400)
    assert "it is no qcow2 image" in refused(m, "one", on(m.kernel("resident")), 400)
    assert servers(disk) == servers(backed) == []
    m.check_settled([])


def backing(machine):
    """A backing file counts if the configuration names what the header does; it is its owner's to read, is locked, and may be
    shared."""
    need_qemu()
    m = machine(MACHINE)
    member = Member(m)
    base = member.folder / "base.img"
    base.write_bytes(bytes(1 << 20))
    tops = [made(member.folder / f"top{i}.qcow2", "-b", "base.img", "-F", "raw", size="1M") for i in range(2)]
    if member.is_root:
        for path in (base, *tops):
            os.chown(path, MEMBER, GROUP)

    def backed(top, path):
        return f'["format=qcow2,vdev=xvda,backing=raw:{path},target={top}"]'

    for i, top in enumerate(tops):
        status, answer = member.create(f"one{i}", disk=backed(top, "base.img"))
        assert status == 201, answer
        assert len(servers(top)) == 1
    status, answer = member.create("two", disk=cases_disks.on(base))
    assert status == 409, (status, answer)
    assert answer["error"]["message"] == f"cannot use disk '{base}': domain 'one0' uses it", answer
    for i in range(2):
        m.destroy(f"one{i}")
    wait_until(lambda: not any(servers(top) for top in tops), "the ends of those that serve")
    status, answer = member.create("two", disk=cases_disks.on(base))
    assert status == 201, answer
    status, answer = member.create("one", disk=backed(tops[0], "base.img"))
    assert status == 409, (status, answer)
    assert answer["error"]["message"] == f"cannot use disk '{tops[0]}': its backing file '{base}': domain 'two' uses it", answer
    m.destroy("two")
    other = member.folder / "other.img"
    other.write_bytes(bytes(1 << 20))
    message = member.refused("another file", disk=backed(tops[0], other))
    assert "its header names the backing file 'base.img', expected '" in message, message
    base.chmod(0)
    if member.is_root:
        os.chown(base, 0, 0)
        message = member.refused("root's file", disk=backed(tops[0], base))
        assert message.endswith(f"its backing file '{base}': Permission denied"), message
    wait_until(lambda: not any(servers(top) for top in tops), "the ends of those that serve")
    m.check_settled([])


def owner(machine):
    """What serves an image has its owner's user, no capabilities, and a filter."""
    need_qemu()
    m = machine(MACHINE)
    member = Member(m)
    disk = made(member.folder / "own.qcow2")
    if member.is_root:
        os.chown(disk, MEMBER, GROUP)
    status, answer = member.create("own", disk=on(disk))
    assert status == 201, answer
    (server,) = servers(disk)
    status = Path(f"/proc/{server}/status").read_text()
    uid = MEMBER if member.is_root else os.geteuid()
    for line in (f"Uid:\t{uid}\t{uid}\t{uid}\t{uid}", "CapEff:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"):
        assert f"\n{line}\n" in status, (line, status)
    m.destroy("own")
    wait_until(lambda: servers(disk) == [], "the end of what serves it")
    m.check_settled([])


def at_socket(machine):
    """A disk that somebody else serves: the connection is its owner's, and there as long as the domain is."""
    need_qemu()
    m = machine()
    folder = m.state.parent
    (folder / "disk.img").write_bytes(bytes(1 << 20))
    path = folder / "nbd.sock"
    disk = f'["format=raw,vdev=xvda,target=nbd:unix:{path}"]'
    message = refused(m, "one", disk, 400)
    assert message == f"cannot use disk 'nbd:unix:{path}': No such file or directory", message
    # It ends with its client.
    server = subprocess.Popen(["/usr/bin/qemu-nbd", "-f", "raw", "-k", path, folder / "disk.img"])
    wait_until(path.exists, "the socket")
    m.create("one", epc=0, disk=disk)
    m.wait_for_ready("one")
    assert m.request("POST", "/v1/domains/one/reboot").status == 200
    wait_until(lambda: m.domains()["one"]["restarts"] == 1, "the reboot")
    assert server.poll() is None
    m.destroy("one")
    assert server.wait(30) == 0
    m.check_settled([])


def boot(machine):
    """A kernel is found on such a disk, too, each time."""
    need_qemu()
    need_tools()
    m = machine()
    folder = m.state.parent
    raw = ext_image(m, folder / "root.img", {"1": "ends"})
    disk = folder / "root.qcow2"
    subprocess.run(["/usr/bin/qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, disk], check=True)
    create_booted(m, "one", disk, kind="qcow2")
    assert not is_resident(m, "one")
    press(m, "one", b"r")
    restarted(m, "one", 1)
    m.destroy("one")
    wait_until(lambda: servers(disk) == [], "the ends of those that serve")
    m.check_settled([])


def linux(machine):
    """Debian's kernel on such a disk: what it has flushed is in the image when its process is killed."""
    need_qemu()
    cases_disks.linux(machine, "qcow2")


CASES = {"formats-linux": linux, "formats-silent": silent, "formats": life, "formats-refused": refusals, "formats-backing": backing, "formats-owner": owner, "formats-boot": boot, "formats-socket": at_socket}
