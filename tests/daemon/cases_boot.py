"""Domains whose kernel is on their own disk: it is looked for at each start, by a process that has nothing but that disk,
and that is there as long as the domain is."""

import os
import signal
import socket
import subprocess
import unittest
from pathlib import Path

from cases_ends import ends, press, says
from cases_owner import GROUP, MACHINE, MEMBER, Member
from cases_persist import Cloister
from machine import domain_config, wait_until

MKE2FS, DEBUGFS = "/sbin/mke2fs", "/sbin/debugfs"


def need_tools():
    if not (os.path.exists(MKE2FS) and os.path.exists(DEBUGFS)):
        raise unittest.SkipTest("e2fsprogs is not there")


def image(m, path, kernels, size="16M"):
    """A file system with these payloads in /boot, by the versions of their names."""
    folder = path.with_suffix(".root")
    (folder / "boot").mkdir(parents=True)
    for version, payload in kernels.items():
        (folder / f"boot/vmlinuz-{version}").write_bytes(m.kernel(payload).read_bytes())
    subprocess.run([MKE2FS, "-q", "-F", "-t", "ext4", "-d", folder, path, size], check=True, stdout=subprocess.DEVNULL)
    return path


def change(path, *commands):
    """As its guest would."""
    for command in commands:
        done = subprocess.run([DEBUGFS, "-w", "-R", command, path], capture_output=True, text=True)
        assert done.returncode == 0 and "rror" not in done.stderr, (command, done.stderr)


def with_bootloader(name, path, kind="raw", **more):
    text = domain_config(name, "", epc=0, bootloader='"pygrub"', disk=f'["format={kind},vdev=xvda,target={path}"]', **more)
    return {"config": text.replace('kernel = ""\n', ""), "file": f"{name}.cfg"}


def create(m, name, path, **more):
    answer = m.request("POST", "/v1/domains", with_bootloader(name, path, **more))
    assert answer.status == 201, (answer.status, answer.body)
    m.wait_for_ready(name)


def refused(m, path, **more):
    answer = m.request("POST", "/v1/domains", with_bootloader("refused", path, **more))
    assert answer.status == 400, (answer.status, answer.body)
    error = answer.json["error"]
    assert error["file"] == "refused.cfg" and error["line"] > 0, error
    return error["message"]


def readers():
    """The processes that look at disks of this test's domains: their parents have ended."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            status = (process / "status").read_text()
            is_one = (process / "comm").read_text() == "cloister-boot\n" and "\nState:\tZ" not in status
            if is_one and f"\nPPid:\t{os.getpid()}\n" in status:
                found.append(int(process.name))
        except OSError:
            continue
    return found


def is_resident(m, name):
    """It echoes what is typed; `ends` shows the key in brackets, and the date."""
    before = len(m.console(name))
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as console:
        console.connect(m.domains()[name]["console"])
        console.sendall(b"d")
        answer = wait_until(lambda: (new := m.console(name)[before:]) and (new == b"d" or b"CLOCK" in new) and new, "an answer")
    return answer == b"d"


def restarted(m, name, times):
    wait_until(lambda: m.domains()[name]["restarts"] == times, f"restart {times}")
    wait_until(lambda: m.console(name).count(b"READY") == times + 1, "READY after it")


def each_start(machine):
    """A kernel that is put on the disk is started at the next reset, whoever asks for it: the guest, a person, or one of a
    new daemon. When there is none the domain says so, and ends."""
    need_tools()
    m = machine()
    disk = image(m, m.state.parent / "root.img", {"6.1": "ends"})
    create(m, "one", disk)
    says(m, "one", b"d", b"CLOCK")
    (reader,) = readers()
    change(disk, f"write {m.kernel('resident')} /boot/vmlinuz-6.10")
    press(m, "one", b"r")
    restarted(m, "one", 1)
    assert is_resident(m, "one")
    m.restart()
    change(disk, "rm /boot/vmlinuz-6.10")
    assert m.request("POST", "/v1/domains/one/reboot").status == 200
    restarted(m, "one", 2)
    assert readers() == [reader]
    change(disk, "rm /boot/vmlinuz-6.1")
    press(m, "one", b"r")
    line = ends(m, "one", "crashed")
    assert f"cannot start again: 'bootloader': cannot start from disk '{disk}': no kernel in /boot" in line, line
    wait_until(lambda: readers() == [], "the end of what looks at the disk")
    # Without the process nothing is guessed either.
    change(disk, f"write {m.kernel('ends')} /boot/vmlinuz-1")
    create(m, "two", disk)
    os.kill(readers()[0], signal.SIGKILL)
    press(m, "two", b"r")
    line = ends(m, "two", "crashed")
    assert "the process that looks at it: it has gone" in line, line
    # However the domain ends.
    create(m, "three", disk)
    os.kill(m.domains()["three"]["pid"], signal.SIGKILL)
    wait_until(lambda: "three" not in m.domains() and readers() == [], "the ends of three and its process")
    m.check_settled([])


def menu(machine):
    """GRUB's menu counts; and what is asked for counts before it."""
    need_tools()
    m = machine()
    disk = image(m, m.state.parent / "root.img", {"2": "ends", "1": "resident"})
    cfg = m.state.parent / "grub.cfg"
    cfg.write_text("menuentry A {\n linux /boot/vmlinuz-1 quiet\n}\nsubmenu B {\nmenuentry C {\n linux /boot/vmlinuz-2\n}\n}\n")
    change(disk, "mkdir /boot/grub", f"write {cfg} /boot/grub/grub.cfg", "symlink /far ../../boot/./vmlinuz-2")
    for args, resident in (("[]", True), ('["--entry=1"]', False), ('["--kernel=/boot/vmlinuz-1"]', True), ('["--kernel=/far"]', False)):
        create(m, "one", disk, bootloader_args=args)
        assert is_resident(m, "one") == resident, args
        m.destroy("one")
    wait_until(lambda: readers() == [], "the ends of those that look")
    m.check_settled([])


def refusals(machine):
    """What cannot be started is refused where it is created, in words; and a definition is for later."""
    need_tools()
    m = machine()
    folder = m.state.parent
    disk = image(m, folder / "root.img", {"1": "resident"})
    none = image(m, folder / "none.img", {})
    start = f"'bootloader': cannot start from disk '{none}': "
    assert refused(m, none) == start + "no kernel in /boot, nor a menu of GRUB's, in its 1 ext file system"
    (folder / "empty.img").write_bytes(bytes(1 << 20))
    assert "no ext2, ext3 or ext4 file system on the whole disk" in refused(m, folder / "empty.img")
    change(none, f"write {__file__} /boot/vmlinuz-1")
    assert "its kernel: " in refused(m, none)
    ramdisk = folder / "ramdisk"
    ramdisk.write_bytes(bytes(17 << 20))
    large = image(m, folder / "large.img", {"1": "resident"}, "64M")
    change(large, f"write {ramdisk} /boot/initrd.img-1")
    message = refused(m, large)
    assert "its ramdisk /boot/initrd.img-1: found 17825792 bytes, expected 16777216 at most" in message, message
    kernel = folder / "kernel"
    kernel.write_bytes(m.kernel("resident").read_bytes())
    os.truncate(kernel, 80 << 20)  # with holes, which cost its guest nothing
    change(large, "rm /boot/initrd.img-1", f"write {kernel} /boot/vmlinuz-2")
    message = refused(m, large)
    assert "its kernel /boot/vmlinuz-2: found 83886080 bytes, expected 67108864 at most" in message, message
    change(disk, "symlink /boot/vmlinuz-2 /boot/vmlinuz-2")
    message = refused(m, disk, bootloader_args='["--kernel=/boot/vmlinuz-2"]')
    assert "no '/boot/vmlinuz-2'" in message, message
    text = with_bootloader("later", none)
    answer = m.request("PUT", "/v1/domains/later", text)
    assert answer.status == 201, (answer.status, answer.body)
    answer = m.request("POST", "/v1/domains/later/start")
    assert answer.status == 400 and b"its kernel: " in answer.body, (answer.status, answer.body)
    change(none, "rm /boot/vmlinuz-1", f"write {m.kernel('resident')} /boot/vmlinuz-1")
    answer = m.request("POST", "/v1/domains/later/start")
    assert answer.status in (200, 201), (answer.status, answer.body)
    m.wait_for_ready("later")
    m.destroy("later")
    wait_until(lambda: readers() == [], "the ends of those that look")
    m.check_settled([])


def owner(machine):
    """The process is its owner's, and can do less than that: it reads the one disk, and has nothing else open."""
    need_tools()
    m = machine(MACHINE)
    member = Member(m)
    disk = image(m, member.folder / "root.img", {"1": "resident"})
    if member.is_root:
        os.chown(disk, MEMBER, GROUP)
    status, answer = member.request("POST", "/v1/domains", with_bootloader("own", disk))
    assert status == 201, answer
    m.wait_for_ready("own")
    (reader,) = readers()
    status = Path(f"/proc/{reader}/status").read_text()
    uid = MEMBER if member.is_root else os.geteuid()
    assert f"\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\n" in status, status
    for line in ("CapEff:\t0000000000000000", "CapPrm:\t0000000000000000", "NoNewPrivs:\t1"):
        assert f"\n{line}\n" in status, status
    held = {fd: os.readlink(f"/proc/{reader}/fd/{fd}") for fd in os.listdir(f"/proc/{reader}/fd")}
    assert held.pop("3").startswith("socket:") and held.pop("4") == str(disk), held
    assert set(held.values()) == {"/dev/null"}, held
    flags = Path(f"/proc/{reader}/fdinfo/4").read_text().split("flags:\t")[1].split()[0]
    assert int(flags, 8) & os.O_ACCMODE == os.O_RDONLY, flags
    m.destroy("own")
    if member.is_root:
        os.chown(disk, 0, 0)
        disk.chmod(0o600)
        status, answer = member.request("POST", "/v1/domains", with_bootloader("own", disk))
        assert status == 400 and "Permission denied" in answer["error"]["message"], answer
    wait_until(lambda: readers() == [], "the end of what looks at the disk")
    m.check_settled([])


def saved(machine):
    """What goes on from a file has its kernel in its RAM, whatever is on the disk; its next start is from there."""
    need_tools()
    m = machine()
    cloister = Cloister(m)
    disk = image(m, m.state.parent / "root.img", {"1": "ends"})
    create(m, "one", disk)
    cloister("save", "one", "one.saved")
    wait_until(lambda: readers() == [], "the end of what looks at the disk")
    change(disk, "rm /boot/vmlinuz-1")
    cloister("restore", "one.saved")
    says(m, "one", b"d", b"CLOCK")
    change(disk, f"write {m.kernel('resident')} /boot/vmlinuz-2")
    press(m, "one", b"r")
    m.wait_for_ready("one")
    wait_until(lambda: m.domains()["one"]["restarts"] == 1, "the restart")
    assert is_resident(m, "one")
    m.destroy("one")
    wait_until(lambda: readers() == [], "the end of what looks at the disk")
    m.check_settled([])


def run(machine):
    """`cloister run` looks at each start, too."""
    need_tools()
    m = machine()
    folder = m.run.parent
    disk = image(m, folder / "root.img", {"1": "ends"})
    config = folder / "run.cfg"
    config.write_text(with_bootloader("here", disk)["config"])
    program = [m.settings.programs / "cloister", "run", config]
    guest = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def until(text):
        seen = b""
        while text not in seen:
            byte = os.read(guest.stdout.fileno(), 4096)
            assert byte, (seen, guest.stderr.read())
            seen += byte

    until(b"READY")
    change(disk, f"write {m.kernel('nmi')} /boot/vmlinuz-2", "rm /boot/vmlinuz-1")
    os.write(guest.stdin.fileno(), b"r")
    until(b"READY")
    os.write(guest.stdin.fileno(), b"dxd")
    until(b"dxd")
    guest.send_signal(signal.SIGKILL)
    guest.communicate()
    wait_until(lambda: readers() == [], "the end of what looks at the disk")
    change(disk, "rm /boot/vmlinuz-2")
    done = subprocess.run(program, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.returncode == 2 and f"cannot start from disk '{disk}': no kernel in /boot" in done.stderr, done
    done = subprocess.run([*program, "--dryrun"], capture_output=True, text=True)
    assert done.returncode == 0 and "bootloader   pygrub\n" in done.stdout, done


CASES = {"boot": each_start, "boot-menu": menu, "boot-refused": refusals, "boot-owner": owner, "boot-saved": saved, "boot-run": run}
