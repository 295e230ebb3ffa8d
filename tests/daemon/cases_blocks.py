"""What a guest has flushed is in the image, whatever was killed, and no block has what was never written there."""

import mmap
import os
import random
import re
import shutil
import signal
import subprocess
import time

from cases_disks import image
from cases_stress import Linux
from machine import domain_config, kill_pid, wait_until

BLOCK, SECTOR, MOST, PROCESSES = 4096, 512, 16, 4
MASK = (1 << 64) - 1


class Writes:
    """Of one of the guest's processes, in their order: guest/tests/programs/scatter.c."""

    def __init__(self, seed, number, blocks):
        self.state = (seed * PROCESSES + number + 1) * 0x9E3779B97F4A7C15 & MASK
        self.first, self.blocks = blocks * number, blocks

    def below(self, limit):
        state = self.state
        state ^= state >> 12
        state = (state ^ state << 25) & MASK
        state ^= state >> 27
        self.state = state
        return ((state * 2685821657736338717 & MASK) >> 32) % limit

    def batch(self):
        """The blocks that it writes."""
        written = set()
        for _ in range(1 + self.below(8)):
            first = self.below(self.blocks)
            count = min(1 + self.below(MOST), self.blocks - first)
            written.update(range(self.first + first, self.first + first + count))
        self.below(2)
        return written


def check(path, seed, flushed, before):
    """What each sector has is what was flushed last, or what was written after that, or, where nothing was flushed by this
    run, what it had before. Returns what the sectors have."""
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as data:
        words = memoryview(data).cast("Q")[:: SECTOR // 8].tolist()
        for sector, word in enumerate(words):
            if word and data[sector * SECTOR : (sector + 1) * SECTOR] != word.to_bytes(8, "little") * (SECTOR // 8):
                raise AssertionError(f"sector {sector}: torn within itself")
    blocks, each = len(words) * SECTOR // BLOCK, len(words) * SECTOR // BLOCK // PROCESSES
    ours = [word for word in words if word >> 56 == seed]
    for number in range(PROCESSES):
        is_its = lambda word: each * number <= word & 0xFFFFFFFF < each * (number + 1)
        newest = max([flushed[number], *(word >> 32 & 0xFFFFFF for word in ours if is_its(word))])
        assert newest < flushed[number] + 100_000, f"process {number}: {newest} batches, {flushed[number]} flushed"
        writes, last, later = Writes(seed, number, each), {}, {}
        for batch in range(1, newest + 1):
            for block in writes.batch():
                if batch <= flushed[number]:
                    last[block] = batch
                else:
                    later.setdefault(block, set()).add(batch)
        for block in range(each * number, each * (number + 1)):
            made = {seed << 56 | batch << 32 | block for batch in later.get(block, ())}
            old = seed << 56 | last[block] << 32 | block if block in last else None
            for sector in range(block * BLOCK // SECTOR, (block + 1) * BLOCK // SECTOR):
                word = words[sector]
                if word != (before[sector] if old is None else old) and word not in made:
                    raise AssertionError(f"sector {sector} of block {block} has {word:#x}; flushed was "
                                         f"{'nothing' if old is None else hex(old)}, before was {before[sector]:#x}")
    assert blocks == each * PROCESSES
    return words


def flushed_blocks(machine):
    """Runs of random writes and flushes by four processes, of which each is ended by SIGKILL: the VMM's, and the daemon's now
    and then. CLOISTER_FULL: of 1 GiB, also with qcow2, twenty runs each."""
    m = machine()
    guest = Linux.of(m.settings)
    if guest is None:
        return
    seed = int(os.environ.get("CLOISTER_SEED", time.time_ns() % 1_000_000))
    chance = random.Random(seed)
    print(f"seed {seed}")
    size, runs = (1 << 30, 20) if m.settings.full else (64 << 20, 2)
    for kind in ("raw", "qcow2") if m.settings.full and shutil.which("qemu-img") else ("raw",):
        disk = image(m, f"disk.{kind}", size)
        if kind != "raw":
            subprocess.run(["/usr/bin/qemu-img", "create", "-q", "-f", kind, disk, str(size)], check=True)
        before = [0] * (size // SECTOR)
        for run in range(1, runs + 1):
            text = domain_config("one", m.settings.guest / "vmlinuz", epc=0, disk=f'["{disk},{kind},xvda,rw"]',
                                 ramdisk=f'"{m.settings.guest / "initramfs.cpio"}"', vcpus=2,
                                 cmdline=f'"console=ttyS0 cloister.test=blocks cloister.blocks={run}"')
            # What served the image may have it still.
            body = {"config": text.replace("memory = 64", "memory = 512"), "file": "linux.cfg"}
            wait_until(lambda: m.request("POST", "/v1/domains", body).status == 201, "the image to be free")

            def flushed():
                found = re.findall(rb"BLOCKS (\d) flushed (\d+)\r?\n", guest.printed(m, "one"))
                return [max([0, *(int(batch) for number, batch in found if int(number) == process)])
                        for process in range(PROCESSES)]

            enough = chance.randrange(4, 120)
            guest.wait(lambda: min(flushed()) >= enough, f"{enough} flushed batches of each")
            time.sleep(chance.uniform(0, 0.2))
            known, pid, both = flushed(), m.domains()["one"]["pid"], run % 2 == 0
            if both:
                m.kill(signal.SIGKILL)
            kill_pid(pid)
            if both:
                m.start()
            wait_until(lambda: "one" not in m.domains(), "the end of one")
            raw = disk
            if kind != "raw":
                raw = disk.with_suffix(".raw")
                convert = ["/usr/bin/qemu-img", "convert", "-f", kind, "-O", "raw", disk, raw]
                wait_until(lambda: subprocess.run(convert, stderr=subprocess.DEVNULL).returncode == 0, "the image to be free")
            before = check(raw, run, known, before)
            print(f"{kind}, run {run}: {known} flushed")
    m.check_settled([])


CASES = {"disks-flushed": flushed_blocks}
