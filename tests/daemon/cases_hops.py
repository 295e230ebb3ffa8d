"""Debian with enclaves hops between two daemons while all of it is at work: its programs find no wrong answer, no tick is
lost, and its time goes on."""

import os
import pwd
import socket
import subprocess
import time
import unittest

from cases_migration import Pair
from cases_networks import free_port
from cases_peers import key_of
from cases_persist import FAILED
from cases_stress import LINUX_PATIENCE
from machine import PATIENCE

ME = pwd.getpwuid(os.geteuid()).pw_name
# Machines with different sections. The first has as much EPC as the domain sees, to the last frame; the second a quarter of
# that for one that is paged, and all of it for one that is not.
HERE = "[[package]]\nepc = [{ base = 0x1_0000_0000, size = 8 }]\n"
QUARTER = "[[package]]\nepc = [{ base = 0x3_0000_0000, size = 1 }, { base = 0x7_0000_0000, size = 1 }]\n"
OTHERS = "[[package]]\nepc = [{ base = 0x7_0000_0000, size = 8 }]\n"
KINDS = {"oss": (QUARTER, {"epc": 8, "epc_min": 2, "epc_paging": '"oss"'}),
         "trap": (QUARTER, {"epc": 8, "epc_min": 2, "epc_paging": '"trap"'}),
         "fixed": (OTHERS, {"epc": 8})}
# Two enclaves of half of the EPC keep Linux's own reclaimer at work. What was sealed at first is unsealed in each round.
INSIDE = """#!/bin/sh
now() { cut -d ' ' -f 1 /proc/uptime | tr -d .; }
ticks() {
  before=0 number=0
  while [ ! -e /tmp/end ]; do
    at=$(now)
    [ "$at" -ge "$before" ] || echo "time: $before, then $at" >>/tmp/wrong
    before=$at number=$((number + 1))
    echo "TICK $number"
    sleep 0.2
  done
}
round() {
  for one in "threads 1" "paging 1" "paging 1" heap "seal $1"; do
    (cd /enclaves && ./$one >/dev/null || { echo "FAIL $one"; echo "$one" >>/tmp/wrong; }) &
  done
  wait
}
sealed=$(/enclaves/seal | sed -n 's/^SEALED //p')
[ -n "$sealed" ] || echo sealed >>/tmp/wrong
ticks &
(rounds=0
while [ ! -e /tmp/end ]; do
  (round "$sealed")
  rounds=$((rounds + 1))
  echo "ROUND $rounds"
done
touch /tmp/over) &
read -r line
touch /tmp/end
while [ ! -e /tmp/over ]; do sleep 0.1; done
# Every page that an enclave had is free again, as the kernel sees it, and can be used.
dmesg | grep -E 'EREMOVE returned|ENCLS|WARNING|BUG|soft lockup|Call Trace' >>/tmp/wrong
(round "$sealed")
if [ -s /tmp/wrong ]; then cat /tmp/wrong; echo "HOPS wrong"; else echo "HOPS good"; fi
"""


def image(m, folder):
    """The guest's, with the program above."""
    (folder / "overlay/tests").mkdir(parents=True)
    program = folder / "overlay/tests/hops"
    program.write_text(INSIDE)
    program.chmod(0o755)
    archive = subprocess.run(["cpio", "--quiet", "-o", "-H", "newc", "-R", "0:0"], input=b"tests/hops\n", check=True,
                             cwd=folder / "overlay", capture_output=True).stdout
    ramdisk = folder / "initramfs.cpio"
    ramdisk.write_bytes((m.settings.guest / "initramfs.cpio").read_bytes() + archive)
    return ramdisk


class Hops(Pair):
    """Of a machine that is called HERE, and another one, each of which knows the other and listens."""

    def __init__(self, machine, there):
        rooms = iter((HERE, there))
        super().__init__(lambda _: machine(next(rooms)))
        self.words = ("--enclaves=keep",)
        self.ports = {m: free_port() for m in (self.a, self.b)}
        keys = {m: key_of(m) for m in (self.a, self.b)}
        for m, other, room in ((self.a, self.b, HERE), (self.b, self.a, there)):
            peer = f'{{ name = "other", key = "{keys[other]}", owner = "{ME}" }}'
            m.description.write_text(f"{room}[migration]\npeers = [{peer}]\n")
            m.command = lambda command=m.command, port=self.ports[m]: [*command(), "--migrate-listen", f"127.0.0.1:{port}"]
            m.restart()
        self.ssh = self.cloister.folder / "ssh"
        os.environ["CLOISTER_SSH"] = str(self.ssh)

    def hop(self, number, paged):
        """By a socket, ssh and TLS, one after the other; and back next time. One with a frame for each page stays as long as
        its guest uses all of them, as Linux does now and then while it reclaims some."""
        how = number % 3
        self.ssh.write_text(f"#!/bin/sh\nexec {self.cloister.command()[0]} --run {self.b.run} receive --stdio\n")
        self.ssh.chmod(0o700)
        to = (f"unix:{self.socket}", "ssh://there", f"tls://127.0.0.1:{self.ports[self.b]}")[how]
        for _ in range(50):
            receiver = self.receive() if how == 0 else None
            done = subprocess.run(self.cloister.command("migrate", "web", to, *self.words), stdin=subprocess.DEVNULL,
                                  capture_output=True, text=True, timeout=4 * PATIENCE)
            if receiver is not None:
                receiver.communicate(timeout=4 * PATIENCE)
            if paged or "goes on here" not in done.stderr:
                break
        assert done.returncode == 0 and "with its enclaves" in done.stderr, done
        self.a.check_settled([])
        self.a, self.b = self.b, self.a
        self.cloister, self.other = self.other, self.cloister
        self.socket = self.other.folder / "way"


def wait_long(condition, what):
    end = time.monotonic() + LINUX_PATIENCE
    while not condition():
        assert time.monotonic() < end, f"waited {LINUX_PATIENCE} s for {what}"
        time.sleep(0.1)


def works(m):
    """It does a round, and ticks, and finds nothing wrong, since it is here."""
    before = m.console("web")

    def has():
        said = m.console("web")
        assert b"FAIL" not in said and b"HOPS wrong" not in said and b"Kernel panic" not in said, said[-3000:]
        return all(said.count(word) > before.count(word) for word in (b"ROUND ", b"TICK "))

    wait_long(has, "its work")


def called_back(pair, paged):
    """What left early is there when it is needed, and leaves again. Within one millisecond nothing stands still: so it is in
    its rounds for a while."""
    receiver = pair.receive()
    source = subprocess.Popen(pair.cloister.command("migrate", "web", f"unix:{pair.socket}", *pair.words, "--downtime", "1",
                                                    "--bandwidth", "32"),
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    found = {}

    def copies():
        answer = pair.a.request("GET", "/v1/domains/web/migration")
        if answer.status == 200:
            found.update(answer.json)
        return source.poll() is not None or found.get("round", 0) >= (2 if paged else 1) and found["bytes"] > 1 << 20

    wait_long(copies, "its rounds")
    assert found["phase"] == "copying" and 0 < found["epc_bytes_left"] <= found["bytes_left"], (found, source.poll())
    assert b'cloister_domain_move_epc_left_bytes{domain="web"} ' in pair.a.request("GET", "/metrics").body
    pair.cloister("migrate", "web", "--cancel")
    said, _ = source.communicate(timeout=LINUX_PATIENCE)
    receiver.communicate(timeout=LINUX_PATIENCE)
    assert source.returncode == FAILED and b"web goes on here: it was to go on" in said, said
    works(pair.a)


def hops(kind):
    def case(machine):
        there, epc = KINDS[kind]
        pair = Hops(machine, there)
        guest = pair.a.settings.guest
        if not (guest / "vmlinuz").exists():
            raise unittest.SkipTest("no kernel: scripts/guest-image")
        ramdisk = image(pair.a, pair.cloister.folder)
        request = pair.a.creation("web", vcpus=4, ramdisk=f'"{ramdisk}"', cmdline='"console=ttyS0 cloister.test=hops"', **epc)
        request["config"] = request["config"].replace("memory = 64", "memory = 256").replace(
            str(pair.a.kernel("resident")), str(guest / "vmlinuz"))
        answer = pair.a.request("POST", "/v1/domains", request)
        assert answer.status == 201, answer.body
        works(pair.a)
        called_back(pair, "epc_min" in epc)
        for number in range(100 if pair.a.settings.full else 5 if kind == "oss" else 3):
            pair.hop(number, "epc_min" in epc)
            works(pair.a)
            print(kind, "hop", number, flush=True)
        with socket.socket(socket.AF_UNIX) as console:
            console.connect(pair.a.domains()["web"]["console"])
            console.sendall(b"end\n")
        said = pair.a.console
        wait_long(lambda: b"HOPS good" in said("web") or b"HOPS wrong" in said("web"), "its end")
        assert b"HOPS good" in said("web"), said("web")[-3000:]

    return case


CASES = {f"migrate-linux-{kind}": hops(kind) for kind in KINDS}
