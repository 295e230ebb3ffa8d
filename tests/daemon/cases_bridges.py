"""Interfaces of domains on a bridge of the host's: frames through the sandbox, who may have one, and that it is gone with
the domain's process, however that ends."""

import json
import os
import signal
import subprocess
import sys
import time
import unittest

from cases_migration import Pair
from cases_moved_disks import Hopping
from cases_owner import Member
from cases_stress import Linux
from machine import PATIENCE, domain_config, some, wait_until

MAC, GUEST, HOST = "52:54:00:0c:10:58", "10.99.0.2", "10.99.0.1"

# Says to the guest what it reads, until the same comes back; a datagram may be lost. Its checksum is the interface's to do.
ASK = f"""
import socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
    one.settimeout(1)
    text = sys.stdin.buffer.read()
    for _ in range({PATIENCE}):
        one.sendto(text, ("{GUEST}", 7))
        try:
            if one.recv(65536) == text:
                sys.exit(0)
        except TimeoutError:
            pass
sys.exit(1)
"""


# Several connections at once, each of which has back what it sends.
CONNECT = f"""
import os, socket, threading
wrong = []
def use():
    with socket.create_connection(("{GUEST}", 7000), timeout={PATIENCE}) as one:
        sent = os.urandom(1 << 16)
        threading.Thread(target=one.sendall, args=(sent,)).start()
        got = b""
        while len(got) < len(sent) and (part := one.recv(1 << 16)):
            got += part
        if got != sent:
            wrong.append(len(got))
all = [threading.Thread(target=use) for _ in range(12)]
for one in all: one.start()
for one in all: one.join()
socket.create_connection(("{GUEST}", 7001), timeout={PATIENCE}).close()
assert not wrong, wrong
"""


# Connections that stay: each has back what it sends, in pieces, as long as there are lines to read; for each line, how much
# has come back by now.
STREAM = f"""
import os, random, socket, sys, threading, time
def fails(what):
    print(what, file=sys.stderr, flush=True)
    os._exit(1)
threading.excepthook = fails
ends, back = threading.Event(), [0] * 3
def use(number):
    with socket.create_connection(("{GUEST}", 7000), timeout={PATIENCE}) as one:
        sent = []
        def send():
            while not ends.is_set():
                sent.append(os.urandom(random.randrange(1, 1 << 16)))
                one.sendall(sent[-1])
                time.sleep(random.uniform(0, 0.05))
            one.shutdown(socket.SHUT_WR)
        sender = threading.Thread(target=send)
        sender.start()
        part = bytearray()
        while got := one.recv(1 << 16):
            part += got
            while sent and len(part) >= len(sent[0]):
                piece = sent.pop(0)
                assert part[:len(piece)] == piece, (number, back[number])
                del part[:len(piece)]
                back[number] += len(piece)
        sender.join()
        assert not sent and not part, (number, "cut", back[number])
all = [threading.Thread(target=use, args=(number,)) for number in range(3)]
for one in all: one.start()
for line in sys.stdin:
    print(min(back), flush=True)
ends.set()
for one in all: one.join()
"""


class Network:
    """One of the test's own, with a bridge."""

    def __init__(self):
        if os.geteuid() != 0 or not os.path.exists("/dev/net/tun"):
            raise unittest.SkipTest("a bridge needs root, and a host that has TAP interfaces")
        self.holder = subprocess.Popen(["unshare", "--net", "sh", "-c", "echo there; exec sleep infinity"], stdout=subprocess.PIPE,
                                       stderr=subprocess.DEVNULL)
        # With an address of its own: it would take on that of its first port, and forget its neighbours.
        if self.holder.stdout.readline() != b"there\n" or self.call("ip", "link", "add", "br0", "address", "02:00:00:00:00:01", "type", "bridge") != 0:
            self.close()
            raise unittest.SkipTest("no network of its own, with a bridge, may be made here")
        self.run("ip", "address", "add", f"{HOST}/24", "dev", "br0")
        self.run("ip", "link", "set", "br0", "up")
        self.run("ip", "link", "set", "lo", "up")
        self.run("ip", "neighbour", "add", GUEST, "lladdr", MAC, "dev", "br0")

    def close(self):
        self.holder.kill()
        self.holder.wait()

    def within(self, *words):
        return ["nsenter", f"--net=/proc/{self.holder.pid}/ns/net", *words]

    def call(self, *words):
        return subprocess.run(self.within(*words), check=False, capture_output=True).returncode

    def run(self, *words, text=b""):
        return subprocess.run(self.within(*words), check=True, capture_output=True, input=text).stdout

    def ports(self):
        """The interfaces on the bridge, with their addresses."""
        return {one["ifname"]: one["address"] for one in json.loads(self.run("ip", "-json", "link", "show", "master", "br0") or b"[]")}

    def others(self):
        """All but the bridge and the loopback."""
        return {one["ifname"] for one in json.loads(self.run("ip", "-json", "link"))} - {"lo", "br0"}

    def asks(self, text):
        self.run(sys.executable, "-c", ASK, text=text)


def with_network(case):
    def within(machine):
        network = Network()
        try:
            def prepare(m):
                command = m.command
                m.command = lambda: network.within(*command())
            case(lambda *room: machine(*room, prepare=prepare), network)
        finally:
            network.close()
    within.__doc__ = case.__doc__
    return within


def vif(**more):
    words = {"bridge": "br0", "mac": MAC, **more}
    return '["' + ",".join(f"{key}={value}" for key, value in words.items()) + '"]'


def creation(m, name, epc=0, **more):
    """Its guest uses one queue, however many there are."""
    return m.creation(name, epc=epc, kernel="answering", vif=vif(**more))


def created(m, network, name="one", **more):
    answer = m.request("POST", "/v1/domains", creation(m, name, **more))
    assert answer.status == 201, (answer.status, answer.body)
    m.wait_for_ready(name)
    network.asks(b"one datagram")


def refused(m, status, **more):
    answer = m.request("POST", "/v1/domains", creation(m, "refused", **more))
    assert answer.status == status, (answer.status, answer.body)
    return answer.json["error"]["message"]


def gone(m, network):
    wait_until(lambda: not network.others(), "the end of the interface")


@with_network
def ends_with_the_domain(machine, network):
    """It is there as long as the domain's process: through a reboot of the guest's and the deaths of daemons, and not after
    it was destroyed, its VMM's death with and without a daemon, or a creation that fails. Who takes it away from it has
    the domain lose its link."""
    m = machine()
    created(m, network)
    assert network.ports() == {"cloister0": "fe" + MAC[2:]}, network.ports()
    network.asks(b"as long as a datagram is in a frame: " + b"x" * 1400)
    assert refused(m, 400, bridge="br1") == "cannot use vif 0: there is no bridge 'br1'"
    assert refused(m, 400, bridge="lo") == "cannot use vif 0: 'lo' is an interface, expected a bridge"
    assert refused(m, 400, vifname="cloister0") == "cannot use vif 0: there is an interface 'cloister0' already"
    assert m.request("POST", "/v1/domains/one/reboot").status == 200
    wait_until(lambda: m.domains()["one"]["restarts"] == 1, "the reboot")
    network.asks(b"after a reboot")
    m.restart()
    network.asks(b"after a daemon's death")
    assert set(network.others()) == {"cloister0"}
    m.destroy("one")
    gone(m, network)

    created(m, network)
    os.kill(m.domains()["one"]["pid"], signal.SIGKILL)
    gone(m, network)
    wait_until(lambda: "one" not in m.domains(), "the end of one")

    created(m, network)
    vmm = m.domains()["one"]["pid"]
    m.kill()
    network.asks(b"without a daemon")
    os.kill(vmm, signal.SIGKILL)
    gone(m, network)
    m.start()
    wait_until(lambda: m.domains() == {}, "the end of one")
    refused(m, 507, epc=1 << 15)
    gone(m, network)

    created(m, network)
    network.run("ip", "link", "delete", "cloister0")
    wait_until(lambda: "the link of its network interface 0 is down" in m.log.read_text(), "the note")
    assert b"b" in m.type_into("one", b"b")
    m.destroy("one")
    m.check_settled([])


@with_network
def killed_while_created(machine, network):
    """Nothing is left of a creation in which the daemon dies, whenever it does."""
    m = machine()
    file = m.state.parent / "one.cfg"
    file.write_text(creation(m, "one")["config"])
    for i in some(range(12), 3):
        request = subprocess.Popen([m.settings.programs / "cloister", "--run", m.run, "create", file],
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(0.01 * i)
        m.kill()
        request.wait()
        m.start()
        if "one" in m.domains():
            m.destroy("one")
        gone(m, network)
    m.check_settled([])


@with_network
def roots_alone(machine, network):
    """A bridge is the host's network: who is not root has no interface on it."""
    m = machine()
    message = Member(m).refused("a bridge", vif=vif())
    assert message == "cannot use vif 0: a bridge is for root's domains alone: expected type=user", message
    assert not network.others()


@with_network
def saved(machine, network):
    """A domain that goes on from a file is on the bridge again, with the address that others know."""
    m = machine()
    created(m, network, queues=3)
    file = m.state.parent / "saved"
    run = lambda *words: subprocess.run([m.settings.programs / "cloister", "--run", m.run, *words], check=True, capture_output=True)
    run("save", "one", file)
    gone(m, network)
    run("restore", file)
    network.asks(b"after a save")
    m.destroy("one")
    gone(m, network)
    m.check_settled([])


@with_network
def linux(machine, network):
    """Debian's driver uses a queue for each processor, and connections go through several of them."""
    m = machine()
    guest = Linux.of(m.settings)
    if guest is None:
        return
    text = domain_config("one", m.settings.guest / "vmlinuz", epc=0, vcpus=3, on_poweroff='"preserve"', vif=vif(queues=4),
                         ramdisk=f'"{m.settings.guest / "initramfs.cpio"}"', cmdline='"console=ttyS0 cloister.test=queues"')
    answer = m.request("POST", "/v1/domains", {"config": text.replace("memory = 64", "memory = 256"), "file": "linux.cfg"})
    assert answer.status == 201, (answer.status, answer.body)
    guest.wait(lambda: b"TEST queues: listens" in guest.printed(m, "one"), "the guest to listen")
    network.run(sys.executable, "-c", CONNECT)
    for what in (b"received-by", b"sent-by", b"several-received", b"several-sent"):
        guest.wait(lambda what=what: b"TEST queues/" + what + b": ok" in guest.printed(m, "one"), what)
    m.destroy("one")
    gone(m, network)
    m.check_settled([])


def hears(network, mac):
    """What says to the bridge where this address is: a packet socket on it."""
    script = f"""
import socket
with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x8035)) as one:
    one.bind(("br0", 0x8035))
    one.settimeout({PATIENCE})
    print("hears", flush=True)
    while True:
        frame = one.recv(2048)
        if frame[6:12] == bytes.fromhex("{mac.replace(':', '')}"):
            break
"""
    listener = subprocess.Popen(network.within(sys.executable, "-c", script), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert listener.stdout.readline() == b"hears\n"
    return listener


@with_network
def moved(machine, network):
    """A domain goes on at another daemon with the address that others know; a bridge that the target has not is said before."""
    pair = Pair(machine)
    a, b = pair.a, pair.b
    created(a, network, "web")
    pair.migrate("--dry-run")
    assert set(network.others()) == {"cloister0"}
    listener = hears(network, MAC)
    pair.migrate()
    _, errors = listener.communicate(timeout=2 * PATIENCE)
    assert listener.returncode == 0, errors
    network.asks(b"after a move")
    a.check_settled([])
    b.destroy("web")
    gone(b, network)
    created(a, network, "web")
    offer = a.request("POST", "/v1/domains/web/migration/offer", {"enclaves": "lose"}).json
    offer["config"] = offer["config"].replace("br0", "br1")
    answer = b.request("POST", "/v1/offers", {"offer": offer})
    assert answer.json["refused"] == ["cannot use vif 0: there is no bridge 'br1'"], answer.body
    a.destroy("web")
    gone(a, network)


@with_network
def devices_moved(machine, network):
    """While Debian hops a hundred times, with its disk at work, the connections that a neighbour has to it stay, and no byte
    of them is lost or comes twice. Under CLOISTER_FULL."""
    hopping = Hopping(machine)
    hopping.create("devices", vif=vif(queues=2))
    hopping.guest.wait(lambda: b"TEST devices: listens" in hopping.guest.printed(hopping.pair.a, "web"), "the guest to listen")
    stream = subprocess.Popen(network.within(sys.executable, "-c", STREAM), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True)
    known = 0

    def back():
        assert stream.poll() is None, stream.communicate()
        print(file=stream.stdin, flush=True)
        return int(stream.stdout.readline())

    def works(hop):
        nonlocal known
        before = known
        hopping.guest.wait(lambda: back() > before, f"bytes of all connections before hop {hop}")
        known = back()
        print(f"hop {hop}: {known} bytes", flush=True)

    hopping.hop(works)
    works("none")
    _, errors = stream.communicate(timeout=2 * PATIENCE)
    assert stream.returncode == 0, errors
    hopping.end()
    gone(hopping.pair.a, network)


CASES = {"migrate-devices-linux": devices_moved, "bridges-linux": linux, "bridges-moved": moved, "bridges": ends_with_the_domain, "bridges-killed": killed_while_created, "bridges-owner": roots_alone, "bridges-saved": saved}
