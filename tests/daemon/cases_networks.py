"""Networks of domains: what carries their frames, whose it is, and that it ends with the domain's process, however that
ends."""

import os
import signal
import socket
import subprocess
import threading
import unittest
from pathlib import Path

from cases_owner import GROUP, MEMBER, Member
import prometheus
from cases_stress import Linux
from machine import domain_config, wait_until


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def on(port):
    return f'["type=user,hostfwd=tcp:127.0.0.1:{port}-:22"]'


def passt_of(port):
    """The process that has this port of the host for a guest; None: there is none."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if words[0] == b"passt" and any(word.startswith(b"127.0.0.1/%d:" % port) for word in words):
            return int(process.name)
    return None


def created(m, name, port):
    """The domain's passt. Without a network on the host there is nothing to test."""
    answer = m.request("POST", "/v1/domains", m.creation(name, epc=0, vif=on(port)))
    if answer.status == 400 and b"External interface not usable" in answer.body:
        raise unittest.SkipTest("this host has no default route")
    assert answer.status == 201, (answer.status, answer.body)
    pid = passt_of(port)
    assert pid, "the domain is there, and passt is not"
    return pid


def needs_passt():
    if not os.access("/usr/bin/passt", os.X_OK):
        raise unittest.SkipTest("there is no passt")


def has_route():
    """passt wants an interface to look like."""
    return any(line.split()[1] == "00000000" for line in Path("/proc/net/route").read_text().splitlines()[1:])


def is_free(port):
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def gone(port):
    """A process that ends has lost its name before its ports."""
    wait_until(lambda: passt_of(port) is None and is_free(port), "the end of passt")


def ends_with_the_domain(machine):
    """It goes on through a reboot of the guest's and the deaths of daemons, and ends when the domain does: destroyed, by its
    VMM's death with and without a daemon, or by a creation that fails. Its own death is the domain's loss of a link."""
    needs_passt()
    m = machine()
    port = free_port()
    first = created(m, "one", port)
    m.wait_for_ready("one")
    answer = m.request("POST", "/v1/domains", m.creation("two", epc=0, vif=on(port)))
    assert answer.status == 400, (answer.status, answer.body)
    error = answer.json["error"]
    assert error["message"].startswith("cannot use vif 0: passt: ") and str(port) in error["message"], error
    assert error["line"] != 0 and set(m.domains()) == {"one"}, (error, m.domains())
    assert m.request("POST", "/v1/domains/one/reboot").status == 200
    wait_until(lambda: m.domains()["one"]["restarts"] == 1, "the reboot")
    m.restart()
    assert passt_of(port) == first
    for _ in range(10):  # as soon as it has ended its port may be another's
        m.destroy("one")
        created(m, "one", port)
    m.destroy("one")
    gone(port)

    created(m, "one", port)
    os.kill(m.domains()["one"]["pid"], signal.SIGKILL)
    gone(port)
    wait_until(lambda: "one" not in m.domains(), "the end of one")

    created(m, "one", port)
    vmm = m.domains()["one"]["pid"]
    m.kill()
    assert passt_of(port)
    os.kill(vmm, signal.SIGKILL)
    gone(port)
    m.start()
    wait_until(lambda: m.domains() == {}, "the end of one")

    assert m.request("POST", "/v1/domains", m.creation("much", epc=1 << 15, vif=on(port))).status == 507
    gone(port)

    os.kill(created(m, "one", port), signal.SIGKILL)
    wait_until(lambda: "the link of its network interface 0 is down" in m.log.read_text(), "the note")
    m.wait_for_ready("one")
    assert m.request("POST", "/v1/domains/one/reboot").status == 200
    wait_until(lambda: m.domains()["one"]["restarts"] == 1, "a reboot without a link")
    m.destroy("one")
    # A definition is for later, and its start is told what a creation is.
    text = m.creation("later", epc=0, vif=on(port))
    answer = m.request("PUT", "/v1/domains/later", {"config": text["config"], "file": "later.cfg"})
    assert answer.status in (200, 201), (answer.status, answer.body)
    assert passt_of(port) is None
    with socket.create_server(("127.0.0.1", port)):
        answer = m.request("POST", "/v1/domains/later/start")
        assert answer.status == 400 and str(port).encode() in answer.body, (answer.status, answer.body)
    answer = m.request("POST", "/v1/domains/later/start")
    assert answer.status in (200, 201), (answer.status, answer.body)
    assert passt_of(port)
    m.destroy("later")
    gone(port)


def owners_rights(machine):
    """It is the owner's, in namespaces of its own, has nothing of the daemon's open, and may not have what the owner may
    not. Root's is nobody's."""
    needs_passt()
    m = machine()
    member = Member(m)
    port = free_port()
    status, answer = member.create("own", vif=on(port))
    if status == 400 and "External interface not usable" in answer["error"]["message"]:
        raise unittest.SkipTest("this host has no default route")
    assert status == 201, answer
    passt = Path(f"/proc/{passt_of(port)}")
    fields = dict(line.split(":\t", 1) for line in (passt / "status").read_text().splitlines() if ":\t" in line)
    assert fields["NoNewPrivs"].strip() == "1", fields
    if member.is_root:
        assert os.readlink(passt / "ns/user") != os.readlink("/proc/self/ns/user")
        held = [os.readlink(passt / "fd" / fd) for fd in os.listdir(passt / "fd")]
        assert not any(name.startswith(("/memfd", str(m.state), str(m.run))) for name in held), held
        assert fields["Uid"].split() == [str(MEMBER)] * 4, fields["Uid"]
        assert fields["Gid"].split() == [str(GROUP)] * 4, fields["Gid"]
        message = member.refused("a privileged port", vif='["type=user,hostfwd=tcp:127.0.0.1:999-:22"]')
        assert message.startswith("cannot use vif 0: passt: ") and "999" in message, message
    m.destroy("own")
    gone(port)
    if member.is_root:
        roots = created(m, "roots", port)
        uid = dict(line.split(":\t", 1) for line in Path(f"/proc/{roots}/status").read_text().splitlines() if ":\t" in line)["Uid"]
        assert "0" not in uid.split(), uid
        m.destroy("roots")
        gone(port)


def saved(machine):
    """A domain that goes on from a file has a network again, of another passt."""
    needs_passt()
    m = machine()
    port = free_port()
    created(m, "one", port)
    m.wait_for_ready("one")
    file = m.state.parent / "saved"
    run = lambda *words: subprocess.run([m.settings.programs / "cloister", "--run", m.run, *words], check=True, capture_output=True)
    run("save", "one", file)
    gone(port)
    run("restore", file)
    assert m.domains()["one"]["state"] == "running"
    assert passt_of(port)
    assert b"b" in m.type_into("one", b"b")
    m.destroy("one")
    gone(port)
    m.check_settled([])


def by_a_service(machine):
    """As a service the daemon has no network: systemd starts for it, connection by connection, what may use it. Here that is
    this test, for a daemon whose own openers find no network."""
    needs_passt()
    if os.geteuid() != 0:
        raise unittest.SkipTest("only root's daemon asks a service")
    m = machine()
    port = free_port()
    created(m, "one", port)  # there is a network at all
    m.destroy("one")
    gone(port)
    path = m.state.parent / "network.sock"
    m.environment["CLOISTER_TEST_NETWORK_SERVICE"] = str(path)
    asked = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listening:
        listening.bind(str(path))
        listening.listen()

        def serve():
            while True:
                try:
                    connection = listening.accept()[0]
                except OSError:
                    return
                with connection:
                    asked.append(subprocess.run([m.settings.programs / "cloisterd", "open-file"], stdin=connection, check=False))

        threading.Thread(target=serve, daemon=True).start()
        m.kill()
        command = m.command
        m.command = lambda: ["unshare", "--net", *command()]
        m.start()
        created(m, "one", port)
        assert len(asked) == 1, asked
        m.wait_for_ready("one")
        os.kill(m.domains()["one"]["pid"], signal.SIGKILL)
        gone(port)
        with socket.create_server(("127.0.0.1", port)):
            answer = m.request("POST", "/v1/domains", m.creation("two", epc=0, vif=on(port)))
            assert answer.status == 400 and str(port).encode() in answer.body, (answer.status, answer.body)
        listening.shutdown(socket.SHUT_RDWR)
    answer = m.request("POST", "/v1/domains", m.creation("two", epc=0, vif=on(port)))
    assert answer.status == 400 and b"External interface not usable" in answer.body, (answer.status, answer.body)
    m.check_settled([])


def linux(machine):
    """Debian's kernel has an address by DHCP, and answers who connects, from within the sandbox."""
    needs_passt()
    m = machine()
    guest = Linux.of(m.settings)
    if guest is None:
        return
    port, mac = free_port(), "52:54:00:0c:10:57"
    text = domain_config("one", m.settings.guest / "vmlinuz", epc=0, on_poweroff='"preserve"',
                         vif=f'["type=user,mac={mac},hostfwd=tcp:127.0.0.1:{port}-:7000"]',
                         ramdisk=f'"{m.settings.guest / "initramfs.cpio"}"',
                         cmdline=f'"console=ttyS0 cloister.test=net cloister.mac={mac} cloister.port=1 cloister.host=deny"')
    answer = m.request("POST", "/v1/domains", {"config": text.replace("memory = 64", "memory = 512"), "file": "linux.cfg"})
    if answer.status == 400 and b"External interface not usable" in answer.body:
        raise unittest.SkipTest("this host has no default route")
    assert answer.status == 201, (answer.status, answer.body)
    for times in (1, 2):
        guest.wait(lambda: guest.printed(m, "one").count(b"TEST net: listens") == times, "the guest to listen")
        with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
            connection.sendall(b"the host\n")
            assert connection.makefile("rb").read() == b"heard the host\n"
    guest.wait(lambda: b"TEST net: loses its link" in guest.printed(m, "one"), "the guest to wait")
    (counts,) = m.get("/v1/domains/one")["devices"]["interfaces"]
    assert counts["received_frames"] and counts["received_bytes"] and counts["sent_frames"] and counts["sent_bytes"], counts
    seen = prometheus.parse(m.request("GET", "/metrics").body.decode())
    frames = seen["cloister_domain_interface_frames_total"].get(domain="one", interface="0", direction="sent")
    assert frames >= counts["sent_frames"], (frames, counts)
    os.kill(passt_of(port), signal.SIGKILL)
    guest.wait(lambda: b"TEST net/no-carrier: ok" in guest.printed(m, "one"), "the guest to lose its link")
    m.destroy("one")
    m.check_settled([])


def logs_in(machine):
    """`cloister ssh` goes where a port of the host leads to the guest's port 22, and says so where none does."""
    needs_passt()
    m = machine()
    ports = [free_port(), free_port(), free_port()]
    ways = [(f"type=user,hostfwd=tcp:127.0.0.1:{ports[0]}-:80,hostfwd=udp::{ports[1]}-:22,hostfwd=tcp:127.0.0.1:{ports[2]}-:22",
             f"-p {ports[2]} -l root -- 127.0.0.1"),
            (f"type=user,hostfwd=tcp::{ports[0]}-:22", f"-p {ports[0]} -l root -- 127.0.0.1"), ("type=user", None)]
    program = [m.settings.programs / "cloister", "--run", m.run]
    for vif, said in ways:
        answer = m.request("POST", "/v1/domains", m.creation("one", epc=0, vif=f'["{vif}"]'))
        assert answer.status == 201, answer.body
        done = subprocess.run([*program, "ssh", "one", "ls", "-l"], capture_output=True, check=False,
                              env={**os.environ, "CLOISTER_SSH": "echo"})
        if said is None:
            assert done.returncode == 1 and b"no hostfwd of a vif leads to port 22" in done.stderr, done
        else:
            uuid = m.domains()["one"]["uuid"]
            assert done.stdout.decode() == f"-o HostKeyAlias={uuid} {said} ls -l\n", done
        assert m.request("POST", "/v1/domains/one/pause").status == 200
        done = subprocess.run([*program, "ssh", "one"], capture_output=True, check=False, env={**os.environ, "CLOISTER_SSH": "echo"})
        assert done.returncode == 1 and b"'one' is paused" in done.stderr, done
        m.destroy("one")
        gone(ports[0])


CASES = {"networks": ends_with_the_domain, "networks-owner": owners_rights, "networks-saved": saved, "networks-service": by_a_service, "networks-linux": linux, "networks-ssh": logs_in}
