"""A libvirtd of the test's own: an ordinary process with folders of its own, whose QEMU reports SGX.

It runs in session mode (https://libvirt.org/uri.html), which touches nothing of the system's. Root has no session mode, so
that root's runs as nobody."""

import json
import os
import shutil
import subprocess
import time
from pathlib import Path

PATIENCE = 60  # seconds that anything may take on a busy machine
IDLE = 120  # seconds after which a libvirtd that nobody asks ends by itself
NOBODY = 65534

# What query-sgx-capabilities answers on a server with two packages (qapi/misc-target.json: SGXInfo).
SGX = {
    "sgx": True, "sgx1": True, "sgx2": True, "flc": True, "section-size": 192 << 20,
    "sections": [{"node": 0, "size": 128 << 20}, {"node": 1, "size": 64 << 20}],
}


class Libvirtd:
    def __init__(self, folder, qemu):
        self.folder = folder
        self.emulator = folder / "qemu-system-x86_64"
        self.log = folder / "libvirtd.log"
        self.process = None
        homes = {name: folder / name for name in ("config", "cache", "run", "data")}
        for home in homes.values():
            home.mkdir()
        shutil.copy(Path(__file__).with_name("sgx_qemu.py"), self.emulator)
        self.emulator.chmod(0o755)
        (folder / "sgx_qemu.json").write_text(json.dumps({"qemu": qemu, "sgx": SGX}))
        environment = {f"XDG_{name.upper()}_HOME": str(home) for name, home in homes.items() if name != "run"}
        environment |= {"XDG_RUNTIME_DIR": str(homes["run"]), "HOME": str(folder), "LC_ALL": "C.UTF-8",
                        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LIBVIRT_AUTOSTART": "0"}
        self.who = {"env": environment, "cwd": folder}
        if os.geteuid() == 0:
            folder.chmod(0o755)
            for path in (folder, *homes.values()):
                os.chown(path, NOBODY, NOBODY)
            self.who |= {"user": NOBODY, "group": NOBODY, "extra_groups": []}

    def __enter__(self):
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(["libvirtd", "--timeout", str(IDLE)], stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log, **self.who)
        end = time.monotonic() + PATIENCE
        while self.virsh("list").returncode != 0:
            if self.process.poll() is not None or time.monotonic() > end:
                self.__exit__()
                raise AssertionError("libvirtd does not answer: " + self.log.read_text()[-2000:])
            time.sleep(0.05)
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def virsh(self, *arguments):
        return subprocess.run(["virsh", "-q", "-c", "qemu:///session", *map(str, arguments)], capture_output=True,
                              text=True, stdin=subprocess.DEVNULL, timeout=PATIENCE, **self.who)

    def ask(self, *arguments):
        """What virsh prints; an error of its is the test's."""
        answer = self.virsh(*arguments)
        assert answer.returncode == 0, f"virsh {' '.join(map(str, arguments))}: {answer.stderr}"
        return answer.stdout
