#!/usr/bin/env python3
"""Debian in a domain, as a person has it: scripts/debian-image makes a disk, the domain boots it to a login prompt, is
reached by SSH through a forwarded port, installs a package over the network, runs enclaves, and finds after a reboot what it
wrote before."""

import argparse
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

from domain import collect
from run_guest import Failure, expect

SKIPPED = 77
MIRROR = "http://deb.debian.org/debian"
ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 300  # seconds of a boot on a busy host


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def service_of_the_tutorial():
    """The commands of docs/debian.md that make a service, and wait until it listens."""
    lines = (ROOT / "docs/debian.md").read_text().splitlines()
    start, end = lines.index("    cat >/root/service.py <<'END'"), lines.index("    systemd-run --unit=sealed python3 /root/service.py")
    commands = [line.removeprefix("    ") for line in lines[start : end + 1]]
    return "\n".join([*commands, "until ss -ltn | grep -q ':80 '; do sleep 0.1; done"])


class Debian:
    """The domain, with a thread that watches its console."""

    def __init__(self, options, folder):
        self.folder, self.port, self.service = folder, free_port(), free_port()
        self.key = folder / "key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.key], check=True)
        enclaves = folder / "own"
        shutil.copytree(options.guest / "root/enclaves", enclaves / "enclaves")
        image = folder / "root.img"
        subprocess.run([ROOT / "scripts/debian-image", "--ssh-key", f"{self.key}.pub", "--size", "1G", "--with", enclaves,
                        image], check=True)
        config = folder / "server.cfg"
        config.write_text("\n".join([
            'name = "server"', 'type = "pvh"', "memory = 1024", "vcpus = 2", "epc = 16",
            'bootloader = "pygrub"', 'extra = "console=ttyS0"',
            f'disk = [ "{image},raw,xvda,rw" ]', f'vsock = "cid=auto,path={folder.resolve()}/vsock"',
            f'vif = [ "type=user,hostfwd=tcp:127.0.0.1:{self.port}-:22,hostfwd=tcp:127.0.0.1:{self.service}-:80" ]', ""]))
        self.run = None
        self.thread = threading.Thread(target=self.watch, args=[options.build / "bin/cloister", config])
        self.thread.start()

    def watch(self, cloister, config):
        show = lambda text, _: print(text, flush=True)
        self.run = collect([str(cloister), "run", "--timeout", "1200", str(config)], show)

    def wait_for_boot(self, before=""):
        """Until it lets us in: the boot's id, which is not that of the one before."""
        end = time.monotonic() + PATIENCE
        while True:
            boot = self.ssh("cat /proc/sys/kernel/random/boot_id", check=False)
            if boot not in ("", before):
                return boot
            expect(self.thread.is_alive(), f"the domain ended before it let us in: {self.run and self.run.errors}")
            expect(time.monotonic() < end, f"waited {PATIENCE} s for SSH")
            time.sleep(1)

    def ssh(self, command, check=True):
        words = ["ssh", "-i", self.key, "-p", str(self.port), "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
                 "-o", "LogLevel=ERROR", "-o", "ConnectTimeout=20", "-o", "BatchMode=yes",
                 "-o", "ServerAliveInterval=10", "-o", "ServerAliveCountMax=6", "root@127.0.0.1", command]
        done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE, stdin=subprocess.DEVNULL)
        print(f"$ {command}\n{done.stdout}{done.stderr}", flush=True)
        expect(not check or done.returncode == 0, f"{command}: status {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout.strip()

    def say(self, port, line):
        """By the socket between guest and host; what is answered."""
        with socket.socket(socket.AF_UNIX) as one:
            one.settimeout(PATIENCE)
            one.connect(str(self.folder / "vsock"))
            stream = one.makefile("rwb")
            stream.write(f"CONNECT {port}\n".encode())
            stream.flush()
            expect(stream.readline().startswith(b"OK "), f"nobody listens at port {port}")
            stream.write(f"{line}\n".encode())
            stream.flush()
            return stream.readline().decode()


def live(options, folder):
    debian = Debian(options, folder)
    try:
        boot = debian.wait_for_boot()
        # It may still be starting what nobody waits for.
        expect(debian.ssh("systemctl is-system-running --wait") == "running", "systemd is not content")
        expect(debian.ssh("stat -c '%U %a' /etc/shadow /usr/bin/su /enclaves/hello | tr '\\n' ' '") ==
               "root 640 root 4755 root 755", "owners and modes are not Debian's")
        skew = abs(int(debian.ssh("date +%s")) - time.time())
        expect(skew < 30, f"its date is {skew} s from ours")
        debian.ssh("apt-get update && apt-get install -y --no-install-recommends hello")
        expect(debian.ssh("hello") == "Hello, world!", "the package does not run")
        expect(debian.ssh("python3 -c 'print(3 ** 40)'") == str(3**40), "python3")
        expect("sha256" in debian.ssh("openssl speed -seconds 1 -bytes 1024 sha256"), "openssl speed")
        debian.ssh("/enclaves/hello")
        debian.ssh(service_of_the_tutorial())
        answer = urllib.request.urlopen(f"http://127.0.0.1:{debian.service}/", timeout=PATIENCE).read()
        expect(b"\nSEALED " in answer, answer)
        (blob,) = re.findall(r"^SEALED (\w+)$", debian.ssh("/enclaves/seal"), re.M)
        debian.ssh("head -c 1000000 /dev/urandom >/root/kept && sync /root/kept")
        digest = debian.ssh("sha256sum </root/kept")
        debian.ssh("systemctl reboot", check=False)
        debian.wait_for_boot(boot)
        expect(debian.ssh("sha256sum </root/kept") == digest, "what was written is not there any more")
        expect("unseal-of-an-earlier-boot: ok" in debian.ssh(f"/enclaves/seal {blob}"), "what was sealed is lost")
        expect(debian.ssh("hello") == "Hello, world!", "the package is gone")
        expect(debian.say(22, "").startswith("SSH-2.0-"), "no SSH by vsock")
        # As a domain's process says it after a restore; and that is all that it may say.
        debian.ssh("timedatectl set-ntp false")
        for words, answer, year in (('{"execute":"guest-set-time","arguments":{"time":1900000000000000000}}', None, "2030"),
                                    ('{"execute":"guest-exec","arguments":{"path":"/bin/true"}}', "error", "2030")):
            said = debian.say(123, words)
            expect(answer is None or answer in said, said)
            expect(debian.ssh("date +%Y") == year, f"its date after {said}")
        # A newer kernel, for the disk: the next reboot starts it, as its command line says.
        boot = debian.ssh("cat /proc/sys/kernel/random/boot_id")
        version = debian.ssh("uname -r")
        debian.ssh(f"cp /boot/vmlinuz-{version} /boot/vmlinuz-99.0-own && cp /boot/initrd.img-{version} /boot/initrd.img-99.0-own")
        debian.ssh("mkdir -p /boot/grub && printf 'menuentry Own {\\n linux /boot/vmlinuz-99.0-own root=/dev/vda own=1\\n"
                   " initrd /boot/initrd.img-99.0-own\\n}\\n' >/boot/grub/grub.cfg")
        debian.ssh("systemctl reboot", check=False)
        debian.wait_for_boot(boot)
        expect("own=1" in debian.ssh("cat /proc/cmdline").split(), "the menu does not count")
        debian.ssh("systemctl poweroff", check=False)
        debian.thread.join(PATIENCE)
        expect(debian.run is not None and debian.run.status == 0, "it does not power off")
    finally:
        if debian.thread.is_alive():
            subprocess.run(["pkill", "-KILL", "-f", str(folder / "server.cfg")], check=False)
            debian.thread.join()


def refusals(options, folder):
    """What is wrong is said before anything is made, and what is interrupted leaves nothing."""
    (folder / "there.img").write_text("mine")
    (folder / "no.pub").write_text("no key\n")
    environment = {**os.environ, "CLOISTER_BUILD": str(folder / "build")}
    programs = [[ROOT / "scripts/debian-image"], [options.build / "bin/cloister", "image", "build"]]
    for words, message in (
            (["--size", "2T!", "new.img"], "--size 2T!: expected a number of bytes"),
            (["--size", "100M", "new.img"], "--size 100M: Debian needs 1G at least"),
            (["--suite", "../sid", "new.img"], "--suite ../sid: expected a name"),
            (["--hostname", "-x", "new.img"], "--hostname -x: expected letters"),
            (["--include", "a b", "new.img"], "--include a b: expected names of packages"),
            (["--mirror", "nowhere", "new.img"], "--mirror nowhere: expected an address"),
            (["--ssh-key", "no.pub", "new.img"], "--ssh-key no.pub: expected a public key"),
            (["--with", "there.img", "new.img"], "--with there.img: expected a folder"),
            (["nowhere/new.img"], "nowhere/new.img: there is no folder nowhere"),
            (["there.img"], "there.img exists; --force replaces it"),
            (["--size"], "--size: expected a value")):
        for program in programs:
            done = subprocess.run([*program, *words], cwd=folder, env=environment, capture_output=True, text=True)
            if words == ["--size"] and len(program) > 1:  # its own command line
                expect(done.returncode == 2 and "--size: " in done.stderr, f"{words}: {done}")
                continue
            expect(done.returncode == 1 and done.stderr.startswith(f"error: {message}"), f"{program} {words}: {done}")
    # Of the verb it is enough to end the one process.
    for program, end in zip(programs, (os.killpg, os.kill)):
        making = subprocess.Popen([*program, "--mirror", "http://192.0.2.1/debian", "new.img"], cwd=folder,
                                  env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True)
        expect("Make Debian" in making.stderr.readline(), "it does not begin")
        expect("   " in making.stderr.readline(), "it does not say what it does")
        end(making.pid, signal.SIGINT if end is os.killpg else signal.SIGTERM)
        expect(making.wait(60) != 0, "an interrupted image is made")
    expect((folder / "there.img").read_text() == "mine", "another's file was touched")
    left = sorted(path.name for path in folder.iterdir())
    expect(left == ["build", "no.pub", "there.img"], f"left behind: {left}")


def run(case, options):
    with tempfile.TemporaryDirectory(prefix="cd-", dir=options.build) as folder:
        try:
            case(options, Path(folder))
        except Failure as failure:
            print(f"FAILED: {failure}")
            return 1
    return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", type=Path, required=True)
    parser.add_argument("--guest", type=Path, required=True, help="what scripts/guest-image made: the enclaves")
    parser.add_argument("case", choices=["live", "refusals"])
    options = parser.parse_args()
    if options.case == "live" and not os.environ.get("CLOISTER_FULL"):
        print("skipped: of scripts/test --full alone (CLOISTER_FULL=1)")
        return SKIPPED
    if missing := [tool for tool in ("mmdebstrap", "mke2fs", "ssh", "ssh-keygen", "passt") if not shutil.which(tool)]:
        print(f"skipped: {', '.join(missing)} not installed")
        return SKIPPED
    if options.case == "refusals":
        return run(refusals, options)
    if not (options.guest / "root/enclaves").exists():
        print(f"skipped: there is no {options.guest}/root/enclaves (scripts/guest-image)")
        return SKIPPED
    try:
        urllib.request.urlopen(f"{MIRROR}/dists/bookworm/Release", timeout=30).close()
    except (urllib.error.URLError, TimeoutError) as error:
        print(f"skipped: {MIRROR} cannot be reached: {error}")
        return SKIPPED
    return run(live, options)


if __name__ == "__main__":
    sys.exit(main())
