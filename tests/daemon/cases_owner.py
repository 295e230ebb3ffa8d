"""Who a domain belongs to, and with whose rights the files that it names are opened. As root these ask as another user
who is a member of the socket's group; otherwise as the daemon's own user."""

import json
import os
import shutil
import stat
import threading

from machine import domain_config, open_files, wait_until

MEMBER, GROUP, SUPPLEMENTARY = 54321, 54322, 54323
MACHINE = '[[package]]\nepc = [{ base = 0x1_0000_0000, size = 4 }]\n'
KEYS = ("kernel", "ramdisk", "silicon")


def as_user(user, group, groups, act):
    """What `act` gives as that user, in a process of its own; what it raises is its name."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            if os.geteuid() == 0:
                os.setgroups(groups)
                os.setresgid(group, group, group)
                os.setresuid(user, user, user)
            text = json.dumps(act())
        except Exception as error:
            text = json.dumps(type(error).__name__)
        try:
            with os.fdopen(writing, "w") as pipe:
                pipe.write(text)
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    return json.loads(text)


class Member:
    """A user without rights who may use the socket. Its requests come from processes of its own."""

    def __init__(self, m):
        self.m = m
        self.is_root = os.geteuid() == 0
        self.folder = m.state.parent / "member"
        self.folder.mkdir()
        if self.is_root:
            for path in (m.state.parent.parent, m.state.parent, m.run):
                path.chmod(path.stat().st_mode | stat.S_IXGRP | stat.S_IXOTH)
            os.chown(self.folder, MEMBER, GROUP)
            self.allow()
        self.kernel = self.copy("resident.elf", m.kernel("resident"))

    def allow(self):
        """The socket is made anew at each start of the daemon."""
        if self.is_root:
            os.chown(self.m.run / "cloisterd.sock", 0, GROUP)

    def copy(self, name, source, mode=0o644, group=GROUP):
        shutil.copyfile(source, self.folder / name)
        if self.is_root:
            os.chown(self.folder / name, 0, group)
        os.chmod(self.folder / name, mode)
        return self.folder / name

    def request(self, method, path, body=None):
        """(status, JSON) of the answer."""
        if not self.is_root:
            answer = self.m.request(method, path, body)
            return answer.status, answer.json

        def act():
            answer = self.m.request(method, path, body)
            return [answer.status, answer.json]

        return tuple(as_user(MEMBER, GROUP, [SUPPLEMENTARY], act))

    def creation(self, name, kernel=None, **more):
        config = domain_config(name, kernel or self.kernel, **{"epc": 0, **more})
        return {"config": config, "file": f"{name}.cfg", "directory": str(self.folder), "paused": True}

    def create(self, name, **more):
        return self.request("POST", "/v1/domains", self.creation(name, **more))

    def refused(self, what, **more):
        """The message; the request must be refused as the configuration's fault."""
        status, answer = self.create("refused", **more)
        assert status == 400, (what, status, answer)
        return answer["error"]["message"]


def naming(key, value):
    """Keys of a configuration in which one names a file."""
    return {"kernel": value} if key == "kernel" else {key: f'"{value}"'}


def into_processes(machine):
    """No name leads to what the daemon or any other process has open: not even root's own request gets a neighbour's
    EPC as its ramdisk."""
    m = machine(MACHINE)
    member = Member(m)
    m.create("neighbour")
    m.wait_for_ready("neighbour")
    daemon, vmm = m.process.pid, m.domains()["neighbour"]["pid"]
    held = open_files(daemon)
    memory = [fd for fd, to in held.items() if to.startswith("/memfd:")]
    assert len(memory) >= 3, held
    names = [f"/proc/self/fd/{fd}" for fd in (*held, "100")]
    names += [f"/dev/fd/{memory[0]}", f"/proc/{daemon}/root{member.kernel}", f"/proc/self/root{member.kernel}",
              f"/proc/{daemon}/cwd/x", "/proc/self/exe", "/dev/stdin"]
    names += [f"/proc/{process}/fd/{fd}" for process, fds in ((daemon, memory), (vmm, ("8", "9", "12"))) for fd in fds]
    (member.folder / "link").symlink_to(f"/proc/self/fd/{memory[0]}")
    names.append(str(member.folder / "link"))
    root = {"file": "x.cfg", "directory": str(member.folder), "paused": True}
    for name in names:
        for key in KEYS if name in (names[0], names[-1]) else ("ramdisk",):
            config = domain_config("thief", **{"kernel": member.kernel, "epc": 0, **naming(key, name)})
            answer = m.request("POST", "/v1/domains", {**root, "config": config})
            assert answer.status == 400, (key, name, answer.body)
            assert f"cannot use {key}" in answer.json["error"]["message"], answer.json
    for name in (f"/proc/self/fd/{memory[0]}", f"/proc/{daemon}/fd/{memory[0]}", str(member.folder / "link")):
        for key in KEYS:
            assert f"cannot use {key}" in member.refused((key, name), **naming(key, name))
    # Nor by the folder that relative names start from.
    body = member.creation("thief", ramdisk='"12"')
    status, answer = member.request("POST", "/v1/domains", {**body, "directory": "/proc/self/fd"})
    assert status == 400, answer
    m.check_settled(["neighbour"])


def rights(machine):
    """A file is the owner's to name, or it is refused; what is no regular file is refused whoever names it."""
    m = machine(MACHINE)
    member = Member(m)
    os.mkfifo(member.folder / "fifo")
    (member.folder / "folder").mkdir()
    member.copy("silicon.dump", __file__)
    for key in KEYS:
        for name in ("fifo", "folder", "/dev/zero", "/dev/null", str(m.run / "cloisterd.sock")):
            value = name if name.startswith("/") else str(member.folder / name)
            message = member.refused((key, name), **naming(key, value))
            assert "not a regular file" in message, (key, name, message)
        assert "No such file" in member.refused(key, **naming(key, member.folder / "none"))
    status, made = member.create("own", kernel="resident.elf")
    assert status == 201, made
    uid = MEMBER if member.is_root else os.geteuid()
    assert made["owner"]["uid"] == uid, made
    if member.is_root:
        assert made["owner"] == {"uid": MEMBER, "gid": GROUP, "groups": [SUPPLEMENTARY]}, made
        roots = member.copy("roots", m.kernel("resident"), 0o600)
        for key in KEYS:
            assert "Permission denied" in member.refused(key, **naming(key, roots)), key
        secret = m.state / "platform-secret"
        assert "Permission denied" in member.refused("secret", ramdisk=f'"{secret}"')
        member.copy("theirs", m.kernel("resident"), 0o640, SUPPLEMENTARY)
        status, answer = member.create("theirs", kernel="theirs", ramdisk='"theirs"')
        assert status == 201, answer
        (member.folder / "theirs").chmod(0o600)
        # What it has read it keeps, whatever becomes of the file; the owner is found again with the domain.
        m.restart()
        member.allow()
        assert m.domains()["theirs"]["owner"]["groups"] == [SUPPLEMENTARY]
        assert member.request("POST", "/v1/domains/theirs/unpause")[0] == 200
        m.wait_for_ready("theirs")
        assert member.request("POST", "/v1/domains/theirs/reboot")[0] == 200
        wait_until(lambda: m.domains()["theirs"]["restarts"] == 1, "the reboot")
        assert f"uid={MEMBER}" in m.log.read_text()
        m.destroy("theirs")
    m.check_settled(["own"])


def swapped(machine):
    """A link that is swapped all the time, between a file of the owner's and one of root's: what is started is the
    owner's, or nothing."""
    m = machine(MACHINE)
    member = Member(m)
    assert "line 1" in member.refused("dump", silicon=f'"{member.copy("own.dump", __file__)}"')
    if not member.is_root:
        return
    # What the domain has open afterwards tells which one it was.
    mine, roots = member.copy("mine", m.kernel("resident")), member.copy("roots", m.kernel("resident"), 0o600)
    link, stop = member.folder / "link", threading.Event()
    link.symlink_to(mine)

    def swap():
        aside = member.folder / "aside"
        while not stop.is_set():
            for to in (roots, mine):
                aside.symlink_to(to)
                aside.rename(link)

    swapping = threading.Thread(target=swap)
    swapping.start()
    try:
        for key in KEYS:
            seen = set()
            for _ in range(300):
                status, answer = member.create("d", **naming(key, link))
                text = json.dumps(answer)
                if key == "silicon":
                    # The owner's file is no dump either: it has been read, or it could not be opened.
                    assert status == 400, answer
                    seen.add("denied" if "Permission denied" in text else "opened")
                    assert "Permission denied" in text or "line 1" in text, text
                elif status == 201:
                    opened = open_files(answer["pid"])
                    assert str(roots) not in opened.values(), opened
                    seen.add("opened")
                    m.destroy("d")
                else:
                    assert status == 400 and "Permission denied" in text, text
                    seen.add("denied")
                if len(seen) == 2:
                    break
            assert seen == {"opened", "denied"}, (key, seen)
    finally:
        stop.set()
        swapping.join()
    m.check_settled([])


def long_ramdisk(machine):
    """What cannot fit is refused by its length: nobody reads 6 GB for 16 MiB of memory."""
    m = machine(MACHINE)
    member = Member(m)
    long = member.copy("long", "/dev/null")
    os.truncate(long, 6 << 30)
    for key, most in (("ramdisk", 64), ("kernel", 1024), ("silicon", 16)):
        message = member.refused(key, **naming(key, long))
        assert f"cannot use {key}" in message, message
        assert f"found {6 << 30} bytes, which is longer than {most} MiB" in message, message
    m.check_settled([])


CASES = {"owner-processes": into_processes, "owner-rights": rights, "owner-swapped": swapped, "long-files": long_ramdisk}
