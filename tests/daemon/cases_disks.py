"""Disks of domains: who has one, with whose rights it is opened, and what is in the file when a domain's process dies."""

import os
import signal
import subprocess
import unittest

import prometheus
from cases_owner import MACHINE, Member
from cases_stress import Linux
from machine import domain_config, wait_until

SIZE = 1 << 20


def image(m, name, size=SIZE):
    path = m.state.parent / name
    with open(path, "wb") as file:
        file.truncate(size)
    return path


def on(path, access="rw", vdev="xvda"):
    return f'["format=raw,vdev={vdev},access={access},target={path}"]'


def refused(m, name, disk, status=409):
    answer = m.request("POST", "/v1/domains", m.creation(name, epc=0, paused=True, disk=disk))
    assert answer.status == status, (answer.status, answer.body)
    return answer.json["error"]["message"]


def one_writes(machine):
    """A disk is one domain's that writes, or several's that read; whoever comes too late is told whose it is. It is free
    as soon as the domain's process has ended, however that ended, and neither a reboot nor another daemon frees it."""
    m = machine()
    disk = image(m, "root.img")
    m.create("first", epc=0, disk=on(disk))
    m.wait_for_ready("first")
    link = m.state.parent / "link.img"
    link.symlink_to(disk)
    for access in ("rw", "ro"):
        for path in (disk, link):
            message = refused(m, "second", on(path, access))
            assert message == f"cannot use disk '{path}': domain 'first' uses it", message
    assert m.request("POST", "/v1/domains/first/reboot").status == 200
    wait_until(lambda: m.domains()["first"]["restarts"] == 1, "the reboot")
    assert "domain 'first' uses it" in refused(m, "second", on(disk))
    m.restart()
    assert "domain 'first' uses it" in refused(m, "second", on(disk)), "this daemon does not know whose it is"
    os.kill(m.domains()["first"]["pid"], signal.SIGKILL)
    wait_until(lambda: "first" not in m.domains(), "the end of first")
    for name in ("second", "third"):
        m.create(name, epc=0, disk=on(disk, "ro"))
    assert "uses it" in refused(m, "fourth", on(disk))
    for name in ("second", "third"):
        m.destroy(name)
    assert "it is the domain's disk xvda, too" in refused(m, "twice", f'{on(disk)[:-1]}, {on(disk, "rw", "xvdb")[1:]}')
    # A refusal after the disks were opened frees them.
    assert m.request("POST", "/v1/domains", m.creation("much", epc=1 << 15, disk=on(disk))).status == 507
    m.create("fourth", epc=0, disk=on(disk))
    m.check_settled(["fourth"])


def others_have(machine):
    """Programs that lock as QEMU's tools do; and what is no disk."""
    m = machine()
    disk = image(m, "root.img")
    # A read lock on the byte that says: nobody else writes.
    script = f"""import fcntl, struct, sys
file = open({str(disk)!r}, "rb")
fcntl.fcntl(file, fcntl.F_OFD_SETLK, struct.pack("hhqqi4x", fcntl.F_RDLCK, 0, 201, 1, 0))
print("locked", flush=True)
sys.stdin.read()"""
    other = subprocess.Popen(["python3", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert other.stdout.readline() == b"locked\n"
    message = refused(m, "one", on(disk))
    assert f"another program uses it: `fuser -v {disk}` or lslocks(8) finds it" in message, message
    m.create("reader", epc=0, disk=on(disk, "ro"))
    m.destroy("reader")
    other.communicate()
    m.create("one", epc=0, disk=on(disk))
    for path, why in ((m.state.parent, "Is a directory"), (m.state.parent / "none", "No such file"),
                      ("/dev/null", "neither a regular file nor a block device")):
        message = refused(m, "two", on(path), 400)
        assert why in message, message
    message = refused(m, "two", on(image(m, "small.img", 100)), 400)
    assert "found 100 bytes, expected a sector of 512 at least" in message, message
    assert "relative path" in refused(m, "two", on("root.img"), 400)
    # A definition is for later.
    text = m.creation("later", epc=0, disk=on(disk))
    answer = m.request("PUT", "/v1/domains/later", {"config": text["config"], "file": "later.cfg"})
    assert answer.status in (200, 201), (answer.status, answer.body)
    answer = m.request("POST", "/v1/domains/later/start")
    assert answer.status == 409 and b"domain 'one' uses it" in answer.body, (answer.status, answer.body)
    m.destroy("one")
    answer = m.request("POST", "/v1/domains/later/start")
    assert answer.status in (200, 201), (answer.status, answer.body)
    m.check_settled(["later"])


def owners_rights(machine):
    """A member of the socket's group has written by a domain what that member may write, and nothing else."""
    m = machine(MACHINE)
    member = Member(m)
    (member.folder / "own.img").write_bytes(bytes(SIZE))
    if member.is_root:
        from cases_owner import GROUP, MEMBER
        os.chown(member.folder / "own.img", MEMBER, GROUP)
        roots = member.folder / "roots.img"
        roots.write_bytes(bytes(SIZE))
        roots.chmod(0o644)
        message = member.refused("root's file", disk=on(roots))
        assert "Permission denied" in message, message
        status, answer = member.create("reads", disk=on(roots, "ro"))
        assert status == 201, answer
    status, answer = member.create("writes", disk=on("own.img"))
    assert status == 201, answer
    vmm = m.domains()["writes"]["pid"]
    held = [os.readlink(f"/proc/{vmm}/fd/{fd}") for fd in os.listdir(f"/proc/{vmm}/fd")]
    assert str(member.folder / "own.img") in held, held
    daemon = [os.readlink(f"/proc/{m.process.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{m.process.pid}/fd")]
    assert not any("own.img" in name for name in daemon), "the daemon has kept it"


def most(machine):
    """A domain of the most processors has the most disks, under its filter, through a reboot and through a file, and two
    such domains live at once. A path may have blanks, commas and equal signs in it."""
    m = machine()

    def create(name):
        letters = "abcdefghijklmnop"
        disks = [on(image(m, f"a {name}, b=c {letter}.img"), vdev=f"xvd{letter}") for letter in letters]
        m.create(name, epc=0, vcpus=16, disk=f"[{', '.join(disk[1:-1] for disk in disks)}]")
        m.wait_for_ready(name)

    create("one")
    create("two")
    assert m.request("POST", "/v1/domains/one/reboot").status == 200
    wait_until(lambda: m.console("one").count(b"READY") == 2, "one to start again")
    file = m.state.parent / "a file, saved=yes"
    run = lambda *words: subprocess.run([m.settings.programs / "cloister", "--run", m.run, *words], check=True, capture_output=True)
    run("save", "one", file)
    assert "one" not in m.domains()
    run("restore", file)
    assert m.domains()["one"]["state"] == "running"
    assert b"b" in m.type_into("one", b"b")
    for name in ("one", "two"):
        m.destroy(name)
    m.check_settled([])


def shown(m, name):
    """What its disks have done: in what is asked of it, on the command line, and in the metrics. It is paused, for counts are
    read one by one. JSON has more digits of a second than metrics."""
    m.request("POST", f"/v1/domains/{name}/pause")
    one, other = m.get(f"/v1/domains/{name}")["devices"]["disks"]
    assert one["vdev"] == "xvda" and one["written_bytes"] >= 4 << 20 and one["flushes"] and one["clears"], one
    assert one["reads"] and one["read_bytes"] and one["errors"] == 0 and one["seconds"] > 0, one
    assert other["vdev"] == "xvdb" and other["read_bytes"] >= 1 << 20 and other["writes"] == other["written_bytes"] == 0, other
    requests = lambda disk: disk["reads"] + disk["writes"] + disk["flushes"] + disk["clears"]
    assert sum(bucket["requests"] for bucket in one["latency"]) == requests(one), one
    seen = prometheus.parse(m.request("GET", "/metrics").body.decode())
    labels = {"domain": name, "disk": "xvda"}
    assert seen["cloister_domain_disk_bytes_total"].get(**labels, direction="written") >= one["written_bytes"]
    times = seen["cloister_domain_disk_request_seconds"]
    assert times.get(**labels, **{"": "_bucket", "le": "+Inf"}) == times.get(**labels, **{"": "_count"}) >= requests(one)
    assert times.get(**labels, **{"": "_sum"}) >= one["seconds"] * (1 - 1e-9)
    assert seen["cloister_domain_disk_errors_total"].get(**labels) == 0
    told = subprocess.run([m.settings.programs / "cloister", "--run", m.run, "info", name], check=True, capture_output=True).stdout
    assert b"disk xvda" in told and b" flushes, " in told, told
    m.request("POST", f"/v1/domains/{name}/unpause")


def linux(machine, kind="raw"):
    """Debian's kernel writes its disk from within the sandbox. What it has flushed is in the file when its process is killed,
    and the domain that comes after finds it."""
    m = machine()
    guest = Linux.of(m.settings)
    if guest is None:
        return
    disk, other = image(m, "first.img", 64 << 20), image(m, "second.img")
    if kind != "raw":
        subprocess.run(["/usr/bin/qemu-img", "create", "-q", "-f", kind, disk, str(64 << 20)], check=True)
    disks = f'["{disk},{kind},xvda,rw", "{other},raw,xvdb,ro"]'

    def create(name, what):
        text = domain_config(name, m.settings.guest / "vmlinuz", epc=0, disk=disks, on_poweroff='"preserve"',
                             ramdisk=f'"{m.settings.guest / "initramfs.cpio"}"',
                             cmdline=f'"console=ttyS0 cloister.test=disk cloister.disk={what}"')
        answer = m.request("POST", "/v1/domains", {"config": text.replace("memory = 64", "memory = 512"), "file": "linux.cfg"})
        assert answer.status == 201, (answer.status, answer.body)

    def printed(name):
        text = guest.printed(m, name)
        assert b"FAIL " not in text, text[-2000:]
        return text

    create("one", "first")
    guest.wait(lambda: b"TEST disk: flushed" in printed("one"), "what is flushed")
    shown(m, "one")
    os.kill(m.domains()["one"]["pid"], signal.SIGKILL)
    wait_until(lambda: "one" not in m.domains(), "the end of one")
    expected = "".join(f"{n}\n" for n in range(1, 1_000_001)).encode()[: 4 << 20]
    raw = disk
    if kind != "raw":
        raw = disk.with_suffix(".raw")
        # What served it may still hold its lock.
        convert = ["/usr/bin/qemu-img", "convert", "-f", kind, "-O", "raw", disk, raw]
        wait_until(lambda: subprocess.run(convert, stderr=subprocess.DEVNULL).returncode == 0, "the image to be free")
    with open(raw, "rb") as file:
        file.seek(32 << 20)
        assert file.read(4 << 20) == expected, "what was flushed is not in the file"
    create("two", "again")
    guest.wait(lambda: b"TEST disk/found-again: ok" in printed("two"), "what was written before")
    m.destroy("two")
    m.check_settled([])


def loop_device(*words):
    """One of the host's with sectors of 4 KiB, on a file."""
    try:
        done = subprocess.run(["losetup", "--find", "--show", "--sector-size", "4096", *words], check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise unittest.SkipTest(f"no loop device may be made here: {error}") from error
    return done.stdout.strip()


def devices(machine):
    """A block device is a disk as a file is, if the host itself does not use it; one that can only be read says so."""
    if os.geteuid() != 0:
        raise unittest.SkipTest("a loop device needs root")
    m = machine()
    device = loop_device(image(m, "root.img"))
    try:
        m.create("one", epc=0, disk=on(device))
        m.wait_for_ready("one")
        message = refused(m, "two", on(device))
        assert message == f"cannot use disk '{device}': domain 'one' uses it", message
        assert m.request("POST", "/v1/domains/one/reboot").status == 200
        wait_until(lambda: m.domains()["one"]["restarts"] == 1, "the reboot")
        m.destroy("one")
        mounted = os.open(device, os.O_RDWR | os.O_EXCL)  # as the kernel has what is mounted
        message = refused(m, "one", on(device), 400)
        assert "the host itself uses it: lsblk(8)" in message, message
        m.create("reads", epc=0, disk=on(device, "ro"))
        os.close(mounted)
        m.destroy("reads")
        if os.path.exists("/usr/bin/qemu-nbd") and os.path.exists("/usr/bin/qemu-img"):
            above = m.state.parent / "above.qcow2"
            subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", device, "-F", "raw", above], check=True)
            m.create("above", epc=0, disk=f'["format=qcow2,vdev=xvda,backing=raw:{device},target={above}"]')
            m.destroy("above")
            subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", device, "1M"], check=True)
            m.create("served", epc=0, disk=f'["format=qcow2,vdev=xvda,target={device}"]')
            m.destroy("served")
    finally:
        subprocess.run(["losetup", "--detach", device], check=False)
    device = loop_device("--read-only", image(m, "fixed.img"))
    try:
        message = refused(m, "one", on(device), 400)
        assert message == f"cannot use disk '{device}': found a device that can only be read, expected access=ro", message
        m.create("one", epc=0, disk=on(device, "ro"))
        m.wait_for_ready("one")
        m.destroy("one")
    finally:
        subprocess.run(["losetup", "--detach", device], check=False)
    m.check_settled([])


CASES = {"disks": one_writes, "disks-devices": devices, "disks-others": others_have, "disks-owner": owners_rights, "disks-most": most, "disks-linux": linux}
