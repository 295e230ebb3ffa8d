"""Sockets between domains and their host: whose they are, who connects for the guest and with which rights, and that both
end with the domain's process, however that ends."""

import os
import re
import signal
import socket
import stat
import subprocess
import threading
import time
from pathlib import Path

import prometheus
from cases_owner import GROUP, MEMBER, Member
from cases_stress import Linux
from machine import domain_config, wait_until


def connectors():
    """The processes that connect for guests of this test's domains: their parents have ended."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            status = (process / "status").read_text()
            is_one = (process / "comm").read_text() == "cloister-vsock\n" and "\nState:\tZ" not in status
            if is_one and f"\nPPid:\t{os.getpid()}\n" in status:
                found.append(int(process.name))
        except OSError:
            continue
    return found


def is_cut_off(path):
    """A call ends: the guest has no driver for it."""
    with socket.socket(socket.AF_UNIX) as one:
        one.settimeout(60)
        one.connect(str(path))
        one.sendall(b"CONNECT 22\n")
        return one.recv(1) == b""


def ends_with_the_domain(machine):
    """The socket and the process that connects are there with the domain, and with no other; they go on through a reboot and
    the deaths of daemons, and go when it does. What programs have beside the socket goes, too."""
    m = machine()
    m.create("none", epc=0)
    assert "vsock" not in m.domains()["none"] and connectors() == []
    m.destroy("none")
    m.create("one", epc=0, vsock='"auto"')
    m.wait_for_ready("one")
    path = Path(m.domains()["one"]["vsock"])
    assert path == m.run / "domains" / str(m.domains()["one"]["id"]) / "vsock.sock"
    status = path.stat()
    assert stat.S_ISSOCK(status.st_mode) and stat.S_IMODE(status.st_mode) == 0o600 and status.st_uid == os.geteuid(), status
    (connector,) = connectors()
    assert is_cut_off(path)
    assert m.request("POST", "/v1/domains/one/reboot").status == 200
    wait_until(lambda: m.domains()["one"]["restarts"] == 1, "the reboot")
    m.wait_for_ready("one")
    m.restart()
    assert connectors() == [connector] and is_cut_off(path)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"{path}_5000")
        m.destroy("one")
    wait_until(lambda: connectors() == [], "the end of what connects")
    m.check_settled([])

    m.create("one", epc=0, vsock="7")
    os.kill(m.domains()["one"]["pid"], signal.SIGKILL)
    wait_until(lambda: connectors() == [], "the end of what connects")
    wait_until(lambda: "one" not in m.domains(), "the end of one")

    m.create("one", epc=0, vsock="7")
    vmm = m.domains()["one"]["pid"]
    m.kill()
    assert len(connectors()) == 1
    os.kill(vmm, signal.SIGKILL)
    wait_until(lambda: connectors() == [], "the end of what connects")
    m.start()
    m.check_settled([])

    assert m.request("POST", "/v1/domains", m.creation("much", epc=1 << 15, vsock="7")).status == 507
    assert connectors() == []
    # Its own death is that of no domain.
    m.create("one", epc=0, vsock="7")
    os.kill(connectors()[0], signal.SIGKILL)
    assert is_cut_off(m.domains()["one"]["vsock"])
    m.destroy("one")
    m.check_settled([])


def owners_rights(machine):
    """What connects for the guest is the owner's, and has nothing of the daemon's open; the socket is the owner's, too."""
    m = machine()
    member = Member(m)
    status, answer = member.create("own", vsock='"auto"')
    assert status == 201, answer
    (connector,) = connectors()
    process = Path(f"/proc/{connector}")
    fields = dict(line.split(":\t", 1) for line in (process / "status").read_text().splitlines() if ":\t" in line)
    assert fields["NoNewPrivs"].strip() == "1", fields
    if member.is_root:
        assert fields["Uid"].split() == [str(MEMBER)] * 4, fields["Uid"]
        assert fields["Gid"].split() == [str(GROUP)] * 4, fields["Gid"]
        assert int(fields["CapEff"], 16) == int(fields["CapPrm"], 16) == 0, fields
        held = sorted(os.readlink(process / "fd" / fd) for fd in os.listdir(process / "fd"))
        assert held[:3] == ["/dev/null"] * 3 and len(held) == 4 and held[3].startswith("socket:"), held
        status = Path(m.domains()["own"]["vsock"]).stat()
        assert status.st_uid == MEMBER and stat.S_IMODE(status.st_mode) == 0o600, status
    m.destroy("own")
    wait_until(lambda: connectors() == [], "the end of what connects")
    m.check_settled([])


def serve(path, handle):
    """At a Unix socket, each connection on a thread of its own."""
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(path))
    listening.listen()

    def accept():
        while True:
            threading.Thread(target=handle, args=[listening.accept()[0]], daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()


def echo(connection):
    with connection:
        while some := connection.recv(1 << 16):
            connection.sendall(some)


def linux(machine):
    """Debian's kernel calls programs of the host and is called by `cloister vsock`, from within the sandbox. A connection that
    is open when the domain is saved ends on both sides, and the guest that goes on makes new ones."""
    m = machine()
    guest = Linux.of(m.settings)
    if guest is None:
        return
    path = m.state.parent / "guest.vsock"
    held = []
    serve(f"{path}_5000", echo)
    serve(f"{path}_5001", held.append)
    text = domain_config("one", m.settings.guest / "vmlinuz", epc=0, on_poweroff='"preserve"',
                         vsock=f'"cid=42,path={path}"', ramdisk=f'"{m.settings.guest / "initramfs.cpio"}"',
                         cmdline='"console=ttyS0 cloister.test=vsock cloister.cid=42 cloister.bytes=1000000 cloister.date=told"')
    answer = m.request("POST", "/v1/domains", {"config": text.replace("memory = 64", "memory = 512"), "file": "linux.cfg"})
    assert answer.status == 201, (answer.status, answer.body)
    content = os.urandom(1 << 20)
    program = [m.settings.programs / "cloister", "--run", m.run]
    ask = lambda *words, **more: subprocess.run([*program, *words], check=True, capture_output=True, **more).stdout
    for times in (1, 2):
        guest.wait(lambda: guest.printed(m, "one").count(b"TEST vsock: listens") == times, "the guest to listen")
        for _ in range(3):
            assert ask("vsock", "one", "7000", input=content) == content
    guest.wait(lambda: b"TEST vsock: holds" in guest.printed(m, "one"), "the guest to hold a connection")
    wait_until(lambda: held, "the connection")
    counts = m.get("/v1/domains/one")["devices"]["vsock"]
    assert counts["open"] == 1 and counts["connections"] == 13 and counts["refused"] == 2, counts
    assert counts["received_bytes"] == counts["sent_bytes"] == 3 * (1_000_000 + 100_000) + 6 * len(content), counts
    seen = prometheus.parse(m.request("GET", "/metrics").body.decode())
    assert seen["cloister_domain_vsock_connections"].get(domain="one") == 1
    assert seen["cloister_domain_vsock_calls_total"].get(domain="one", result="refused") == 2
    assert seen["cloister_domain_vsock_bytes_total"].get(domain="one", direction="sent") == counts["sent_bytes"]
    refused = subprocess.run([*program, "vsock", "one", "7001"], capture_output=True, stdin=subprocess.DEVNULL, check=False)
    assert refused.returncode == 1 and b"nobody in 'one' listens at port 7001" in refused.stderr, refused
    file = m.state.parent / "saved"
    ask("save", "one", file)
    held[0].settimeout(60)
    assert held[0].recv(1) == b"", "it is still open on the host"
    started = time.time()
    ask("restore", file)
    guest.wait(lambda: b"TEST vsock/called-afterwards: ok" in guest.printed(m, "one"), "the guest to call again")
    assert b"held until 104" in m.console("one"), m.console("one")[-1000:]
    # Its time stamp counter stood while it was a file: it is told the date.
    told = rb'told {"execute":"guest-set-time","arguments":{"time":(\d+)}}'
    guest.wait(lambda: re.search(told, guest.printed(m, "one")), "the guest to be told the date")
    when = int(re.search(told, guest.printed(m, "one"))[1]) / 1e9
    assert started < when < time.time() + 1, (started, when)
    # What `cloister ssh` runs in place of ssh: its ProxyCommand, as ssh reads that.
    fake = m.state.parent / "ssh"
    fake.write_text('#!/bin/sh\nfor word; do case $word in ProxyCommand=*)\n'
                    'echo "$@" >&2; exec sh -c "$(printf %s "${word#*=}" | sed s/%%/%/g)";;\nesac; done\n')
    fake.chmod(0o755)
    guest.wait(lambda: b"TEST vsock: listens" in guest.printed(m, "one"), "the guest to listen as sshd does")
    done = subprocess.run([*program, "ssh", "user@one", "-v", "uptime"], input=content, capture_output=True, check=True,
                          env={**os.environ, "CLOISTER_SSH": str(fake)})
    assert done.stdout == content and done.stderr.endswith(b" -l user -- one -v uptime\n"), done.stderr
    assert f"HostKeyAlias={m.domains()['one']['uuid']} ".encode() in done.stderr, done.stderr
    m.destroy("one")
    m.check_settled([])


CASES = {"vsock": ends_with_the_domain, "vsock-owner": owners_rights, "vsock-linux": linux}
