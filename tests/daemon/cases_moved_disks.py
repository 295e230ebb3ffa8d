"""Domains move with their disks, which lie on storage that both machines name: what was flushed is found, one writes at a time,
and what cannot move says so before anything pauses."""

import fcntl
import os
import random
import re
import shutil
import struct
import subprocess
import unittest

from cases_blocks import PROCESSES
from cases_blocks import check as check_blocks
from cases_ends import press
from cases_hops import wait_long
from cases_live_enclaves import Peers
from cases_live_enclaves import goes_on as live_goes_on
from cases_migration import ANSWER, COMMIT, DONE, OFFER, PIECE, READY, ROOM, VERDICT, Pair, Way, attempt, settle
from cases_persist import FAILED
from cases_stress import Linux
from machine import domain_config, kill_pid, wait_until

SECTORS, SECTOR = 2048, 512
KERNEL = "writing"


def locked(path, byte=101):
    """The byte that says in QEMU's way that somebody writes."""
    with open(path, "rb") as file:
        asked = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, byte, 1, 0)
        return struct.unpack("hhqqi4x", fcntl.fcntl(file, fcntl.F_OFD_GETLK, asked))[0] != fcntl.F_UNLCK


class Shared(Pair):
    """Two daemons with the same folder, which each has somewhere else, and calls `vm`."""

    def __init__(self, machine):
        super().__init__(machine)
        self.folder = self.cloister.folder / "vm"
        self.folder.mkdir()
        link = self.other.folder / "elsewhere"
        link.symlink_to(self.folder)
        self.describe(self.a, f'vm = "{self.folder}"')
        self.describe(self.b, f'vm = "{link}"\nelse = "/nowhere"')
        self.image = self.folder / "deep" / "web.img"
        self.image.parent.mkdir()

    @staticmethod
    def describe(m, storage):
        m.description.write_text(f"{ROOM}[storage]\n{storage}\n")
        m.restart()

    def on(self, path=None, access="rw", vdev="xvda"):
        return f'"format=raw,vdev={vdev},access={access},target={path or self.image}"'

    def ready(self, disk=None, **more):
        self.image.write_bytes(bytes(SECTORS * SECTOR))
        self.a.create("web", kernel=KERNEL, epc=0, disk=disk or f"[{self.on()}]", **more)
        self.a.wait_for_ready("web")

    def turn(self):
        self.a, self.b = self.b, self.a
        self.cloister, self.other = self.other, self.cloister
        self.socket = self.other.folder / "way"

    def flushed(self, m):
        """The number up to which all are safe."""
        before = m.console("web").count(b"FLUSHED")
        press(m, "web", b"n")
        found = wait_until(lambda: len(all_of := re.findall(rb"FLUSHED ([0-9a-f]{16})\r?\n", m.console("web"))) > before and all_of,
                           "what is flushed")
        return int(found[-1], 16)

    def writes(self, m):
        """It goes on writing, and finds all that it has written, and so does who reads the file."""
        before = self.flushed(m)
        wait_until(lambda: self.flushed(m) > before, "more writes")
        looks = m.console("web").count(b"GOOD")
        press(m, "web", b"v")
        wait_long(lambda: m.console("web").count(b"GOOD") > looks or b"WRONG" in m.console("web"), "a look at all of it")
        assert b"WRONG" not in m.console("web") and b"failed" not in m.console("web"), m.console("web")
        self.check(before)
        assert locked(self.image)

    def check(self, flushed):
        """Each sector has the last number that was flushed there, or one that came later."""
        data = self.image.read_bytes()
        for sector in range(SECTORS):
            word, = struct.unpack_from("<Q", data, sector * SECTOR)
            least = 0 if flushed < sector else flushed - (flushed - sector) % SECTORS
            assert word >= least and (word == 0 or word % SECTORS == sector), (sector, word, flushed)


def moves(machine):
    """It goes there and back, and writes on where it was; at each machine its disk is that machine's path to it. Nobody else
    has the disk meanwhile."""
    pair = Shared(machine)
    pair.ready(vcpus=2)
    flushed = 0
    for number in range(100 if pair.a.settings.full else 5):
        flushed = max(flushed, pair.flushed(pair.a))
        if number == 0:
            pair.migrate("--dry-run")
        said = pair.migrate()
        assert "web has come" in said, (pair.cloister.said, said)
        pair.a.check_settled([])
        pair.check(flushed)
        pair.turn()
        wait_until(lambda: pair.lives(pair.a) == "running", "its arrival")
        after = pair.flushed(pair.a)
        assert after >= flushed, (number, flushed, after)
        pair.writes(pair.a)
        answer = pair.b.request("POST", "/v1/domains", pair.b.creation("other", epc=0, disk=f"[{pair.on()}]"))
        assert answer.status == 409 and b"another program uses it" in answer.body, answer.body
    # It is there under the name that both have for it, and starts from that, too.
    assert "storage:vm/deep/web.img" in pair.a.request("POST", "/v1/domains/web/migration/offer").json["config"]
    pair.a.destroy("web")
    wait_until(lambda: not locked(pair.image), "the end of its locks")
    pair.a.create("again", kernel=KERNEL, epc=0, disk=f'[{pair.on("storage:vm/deep/web.img")}]')
    pair.a.wait_for_ready("again")
    assert locked(pair.image)
    pair.a.destroy("again")
    pair.a.check_settled([])
    pair.b.check_settled([])


def refused(machine):
    """Every reason at once, before anything pauses; and what a source says is no path."""
    pair = Shared(machine)
    a, b = pair.a, pair.b
    outside, other = pair.cloister.folder / "outside.img", pair.folder / "link.img"
    for path in (outside, pair.folder / "real.img", pair.folder / "gone.img"):
        path.write_bytes(bytes(SECTORS * SECTOR))
    other.symlink_to("real.img")
    disks = [pair.on(), pair.on(outside, vdev="xvdb"), pair.on(other, vdev="xvdc"), pair.on(pair.folder / "gone.img", vdev="xvdd")]
    if shutil.which("qemu-img") and shutil.which("qemu-nbd"):
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", pair.folder / "web.qcow2", "1M"], check=True)
        disks.append(f'"format=qcow2,vdev=xvde,target={pair.folder / "web.qcow2"}"')
    pair.ready(disk=f"[{', '.join(disks)}]")
    (pair.folder / "gone.img").unlink()
    before = pair.flushed(a)
    for words in (("--dry-run",), ()):
        pair.migrate(*words, status=FAILED)
        for why in (f"disk xvdb: '{outside}': it lies in no storage", "disk xvdb: '" + str(outside) + "': it lies in no storage that its source has named",
                    "disk xvdc: 'storage:vm/link.img': it leads through a link",
                    "disk xvdd: 'storage:vm/gone.img': No such file or directory",
                    *(["disk xvde: ", "found qcow2, expected raw"] if len(disks) > 4 else [])):
            assert why in pair.cloister.said, (why, pair.cloister.said)
        assert "xvda" not in pair.cloister.said, pair.cloister.said
        assert pair.lives(a) == "running" and "migration" not in a.domains()["web"] and not b.domains()
    pair.writes(a)
    assert pair.flushed(a) > before
    a.destroy("web")
    # A target with another file of the name, with none of the storage, and with a shorter file.
    pair.ready()
    copy = pair.other.folder / "copy"
    shutil.copytree(pair.folder, copy, symlinks=True)
    for storage, why in ((f'vm = "{copy}"', "disk xvda: 'storage:vm/deep/web.img': another file of that name than at its source"),
                         (f'mv = "{pair.folder}"', "this machine has no storage 'vm'"),
                         (f'vm = "{copy}/none"', f"the storage's folder '{copy}/none': No such file")):
        pair.describe(b, storage)
        pair.migrate(status=FAILED)
        assert why in pair.cloister.said and pair.lives(a) == "running", (why, pair.cloister.said)
        b.check_settled([])
    pair.describe(b, f'vm = "{pair.folder}"')
    offer = a.request("POST", "/v1/domains/web/migration/offer", {"enclaves": "lose"}).json
    assert "storage:vm/deep/web.img" in offer["config"], offer

    def said_of(offer):
        answer = b.request("POST", "/v1/offers", {"offer": offer})
        return answer.json["refused"] if answer.status == 200 else [answer.json["error"]["message"]]

    assert said_of(offer) == [], offer
    mark = offer["disks"]["xvda"]
    elsewhere = lambda path: {**offer, "config": offer["config"].replace("storage:vm/deep/web.img", str(path))}
    for lie, why in ((elsewhere(pair.image), "it lies in no storage that its source has named"),
                     (elsewhere("/etc/passwd"), "it lies in no storage"),
                     (elsewhere("storage:vm/../vm/deep/web.img"), 'without "." and ".."'),
                     (elsewhere("storage:vm//etc/passwd"), 'without "." and ".."'),
                     (elsewhere("storage:vm/deep"), "Is a directory"),
                     ({**offer, "disks": {}}, "its source says nothing of it"),
                     ({**offer, "disks": {"xvda": {**mark, "mark": 101}}}, "another file of that name"),
                     ({**offer, "disks": {"xvda": {**mark, "mark": mark["mark"] + 1}}}, "another file of that name"),
                     ({**offer, "disks": {"xvda": {**mark, "bytes": mark["bytes"] * 2}}}, f"found {mark['bytes']} bytes, expected"),
                     ({**offer, "disks": {"xvda": 7}}, "'disks'"), ({**offer, "disks": 7}, "'disks'")):
        assert any(why in one for one in said_of(lie)), (why, said_of(lie))
    # Somebody else's lock of all of it is no mark.
    a.destroy("web")
    with open(pair.image, "rb") as file:
        fcntl.fcntl(file, fcntl.F_OFD_SETLK, struct.pack("hhqqi4x", fcntl.F_RDLCK, os.SEEK_SET, 0, 0, 0))
        assert any("another file of that name" in one for one in said_of(offer)), said_of(offer)
    b.check_settled([])


def steals(image, stranger):
    """A hook of a Way's: somebody has the disk, once its source has given it up and before it sends what its target must
    have before that takes it. Whose file is then in `stranger`."""

    def steal(kind, body):
        if kind == PIECE and not stranger and not locked(image):
            stranger.append(open(image, "r+b", buffering=0))
            fcntl.fcntl(stranger[0], fcntl.F_OFD_SETLK, struct.pack("hhqqi4x", fcntl.F_RDLCK, os.SEEK_SET, 201, 1, 0))
        return True

    return steal


def waits(machine):
    """Who has the disk when the target is to take it has it: the domain does not go there, and goes on where it was as soon as
    it has it again."""
    pair = Shared(machine)
    a, b = pair.a, pair.b
    pair.ready()
    stranger = []

    flushed = pair.flushed(a)
    assert attempt(pair, Way(pair, steals(pair.image, stranger))) == FAILED and "its disk xvda: somebody else uses it" in pair.said, pair.said
    assert stranger
    why = wait_until(lambda: a.get("/v1/domains/web/migration").get("waits_for"), "its wait")
    assert pair.lives(a) == "moving" and why == "its disk xvda: somebody else uses it", (pair.lives(a), why)
    assert a.request("POST", "/v1/domains/web/pause").status == 409
    stranger.pop().close()
    wait_until(lambda: pair.lives(a) == "running", "it to go on")
    assert pair.flushed(a) >= flushed
    pair.writes(a)
    b.check_settled([])
    a.destroy("web")


def written(machine):
    """A guest that was given up never writes a disk that somebody else has written since: what it knows of it is old. It
    waits, says why, and can only be destroyed. A domain here does not have a disk of one in doubt."""
    pair = Shared(machine)
    a, b = pair.a, pair.b
    pair.ready()
    stranger = []

    def waits_since_written():
        wait_until(lambda: "somebody has written it" in (a.get("/v1/domains/web/migration").get("waits_for") or ""), "its wait")
        assert pair.lives(a) == "moving" and not locked(pair.image)
        assert "somebody has written it" in a.log.read_text()
        a.destroy("web")
        a.check_settled([])

    assert attempt(pair, Way(pair, steals(pair.image, stranger))) == FAILED, pair.said
    wait_until(lambda: a.get("/v1/domains/web/migration").get("waits_for") == "its disk xvda: somebody else uses it", "its wait")
    stranger[0].write(b"written")
    stranger.pop().close()
    waits_since_written()
    # In doubt nobody has the locks; its own daemon knows whose it is.
    pair.ready()

    def before(kind, body):
        if kind != COMMIT:
            return True
        kill_pid(b.domains()["web"]["pid"])
        return False

    attempt(pair, Way(pair, before))
    wait_until(lambda: pair.lives(a) == "in-doubt", "the doubt")
    wait_until(lambda: not locked(pair.image), "the end of its target")
    for access in ("rw", "ro"):
        answer = a.request("POST", "/v1/domains", a.creation("other", epc=0, disk=f"[{pair.on(access=access)}]"))
        assert answer.status == 409 and b"domain 'web' uses it" in answer.body, answer.body
    with open(pair.image, "r+b") as file:
        file.write(b"written")
    pair.cloister("migrate", "--resolve", "--here", "web")
    assert "goes on here as soon as it has its disks again: its disk xvda: somebody has written it" in pair.cloister.said, pair.cloister.said
    waits_since_written()
    a.create("other", kernel=KERNEL, epc=0, disk=f"[{pair.on()}]")
    a.destroy("other")
    b.check_settled([])


def kills(machine):
    """Each process of a move dies before each message goes on: one writes, or none since its process is gone."""
    pair = Shared(machine)
    a, b = pair.a, pair.b

    def vmm(m):
        domain = m.domains().get("web")
        if domain and domain["pid"]:
            kill_pid(domain["pid"])
            wait_until(lambda: m.domains().get("web", {}).get("pid") != domain["pid"], "its daemon to notice")

    victims = {"source": lambda: pair.source.kill(), "receiver": lambda: pair.receiver.kill(), "daemon here": a.restart,
               "daemon there": b.restart, "process here": lambda: vmm(a), "process there": lambda: vmm(b)}
    every = [(step, name) for step in (OFFER, ANSWER, PIECE, READY, COMMIT, VERDICT, DONE) for name in victims]
    seed = int(os.environ.get("CLOISTER_SEED", random.randrange(1 << 20)))
    print(f"seed {seed}")
    for step, name in every if a.settings.full else random.Random(seed).sample(every, 4):
        if pair.lives(a) is None:
            pair.ready()
        flushed, done = pair.flushed(a), []

        def before(kind, body):
            if kind == step and not done:
                done.append(True)
                victims[name]()
            return True

        attempt(pair, Way(pair, before))
        where = settle(pair)
        story = (step, name, pair.said, a.domains(), b.domains())
        assert done, story
        lost = name == "process here" and step != DONE or name == "process there" and step in (VERDICT, DONE)
        assert len(where) == 1 or (lost and not where), story
        pair.check(flushed)
        for m in where:
            assert pair.flushed(m) >= flushed, story
            pair.writes(m)
        if not where:
            wait_until(lambda: not locked(pair.image), "the end of its locks")
        if pair.lives(b):
            b.destroy("web")
        a.check_settled(["web"] if pair.lives(a) else [])
        b.check_settled([])
    if pair.lives(a):
        a.destroy("web")


def enclaves(machine):
    """With its enclaves, too: the target has the disk before their root leaves, or they stay."""
    pair = Peers(machine)
    folder = pair.cloister.folder / "vm"
    folder.mkdir()
    image = folder / "web.img"
    image.write_bytes(bytes(SECTORS * SECTOR))
    for m in (pair.a, pair.b):
        m.description.write_text(f'{m.description.read_text()}\n[storage]\nvm = "{folder}"\n')
        m.restart()
    pair.ready(epc=4, epc_min=1, disk=f'["format=raw,vdev=xvda,target={image}"]')
    for _ in range(2):
        pair.migrate()
        assert "with its enclaves" in pair.cloister.said, pair.cloister.said
        pair.turn()
        wait_until(lambda: pair.lives(pair.a) == "running", "its arrival")
        live_goes_on(pair.a)
        assert locked(image)
    stranger = []

    assert attempt(pair, Way(pair, steals(image, stranger))) == FAILED and "its disk xvda: somebody else uses it" in pair.said, pair.said
    wait_until(lambda: pair.a.get("/v1/domains/web/migration").get("waits_for"), "its wait")
    stranger.pop().close()
    wait_until(lambda: pair.lives(pair.a) == "running", "it to go on")
    live_goes_on(pair.a)
    pair.a.destroy("web")
    pair.b.check_settled([])


class Hopping:
    """Debian writes all over its disk, and flushes now and then, while it hops a hundred times; when it is killed, all that it
    had flushed is there. Under CLOISTER_FULL."""

    SIZE, SEED = 64 << 20, 1

    def __init__(self, machine):
        self.pair = Shared(machine)
        self.guest = Linux.of(self.pair.a.settings)
        if self.guest is None or not self.pair.a.settings.full:
            raise unittest.SkipTest("with CLOISTER_FULL and Debian's kernel alone")
        with open(self.pair.image, "wb") as file:
            file.truncate(self.SIZE)

    def create(self, test, **more):
        text = domain_config("web", self.guest.folder / "vmlinuz", epc=0, disk=f"[{self.pair.on()}]", vcpus=2,
                             ramdisk=f'"{self.guest.folder / "initramfs.cpio"}"',
                             cmdline=f'"console=ttyS0 cloister.test={test} cloister.blocks={self.SEED}"', **more)
        answer = self.pair.a.request("POST", "/v1/domains", {"config": text.replace("memory = 64", "memory = 512"), "file": "linux.cfg"})
        assert answer.status == 201, answer.body

    def flushed(self):
        found = re.findall(rb"BLOCKS (\d) flushed (\d+)\r?\n", self.guest.printed(self.pair.a, "web"))
        return [max([0, *(int(batch) for number, batch in found if int(number) == process)]) for process in range(PROCESSES)]

    def hop(self, works=lambda hop: None):
        """works: what else must have been done since the last hop."""
        pair, known = self.pair, [0] * PROCESSES
        since = lambda: all(now > before for now, before in zip(self.flushed(), known))
        for hop in range(100):
            self.guest.wait(since, f"flushes before hop {hop}")
            known = self.flushed()
            works(hop)
            pair.migrate()
            assert "web runs at" in pair.cloister.said, pair.cloister.said
            pair.turn()
            print(f"hop {hop}: {known} flushed", flush=True)
        self.guest.wait(since, "flushes after the last hop")

    def end(self):
        pair, known = self.pair, self.flushed()
        kill_pid(pair.a.domains()["web"]["pid"])
        wait_until(lambda: "web" not in pair.a.domains(), "its end")
        check_blocks(pair.image, self.SEED, known, [0] * (self.SIZE // SECTOR))


def linux(machine):
    """As Hopping says."""
    hopping = Hopping(machine)
    hopping.create("blocks")
    hopping.hop()
    hopping.end()


CASES = {"migrate-disks-linux": linux, "migrate-disks-enclaves": enclaves, "migrate-disks": moves, "migrate-disks-refused": refused, "migrate-disks-waits": waits, "migrate-disks-written": written, "migrate-disks-kills": kills}
