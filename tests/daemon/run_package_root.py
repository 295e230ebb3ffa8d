#!/usr/bin/env python3
"""The Debian package in a root of its own, by dpkg as root: installed, upgraded from an older version, removed, purged.
No daemon runs there; tests/guest/run_systemd.py has what happens under systemd."""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

SKIPPED = 77
OLDER = "0.0.1"
UNITS = ("cloisterd.service", "cloister-domains.service")


def make(build, folder, *definitions):
    subprocess.run(["cpack", "--config", build / "CPackConfig.cmake", "-B", folder, *definitions], check=True, stdout=subprocess.DEVNULL)
    (package,) = folder.glob("cloister_*.deb")
    return package


class Root:
    def __init__(self, archive, folder):
        self.path = folder / "root"
        self.path.mkdir()
        # Devices cannot be made everywhere, and none is needed.
        subprocess.run(["tar", "-x", "--numeric-owner", "--exclude", "./dev/*", "--exclude", "./etc/dpkg/dpkg.cfg.d/*", "-f", archive, "-C", self.path], check=True)
        (self.path / "dev/null").touch()
        (self.path / "dev/null").chmod(0o666)
        self.before = self.files()

    def run(self, *command):
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
        return subprocess.run(["chroot", self.path, *command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, timeout=300)

    def dpkg(self, *words):
        done = self.run("dpkg", *words)
        assert done.returncode == 0, (words, done.stdout)
        assert "error" not in done.stdout and "warning" not in done.stdout, done.stdout
        return done.stdout

    def status(self):
        return self.run("dpkg-query", "-W", "-f", "${db:Status-Abbrev} ${Version}", "cloister").stdout.strip()

    def files(self):
        """All files but what dpkg and the accounts' tools keep for themselves."""
        own = ("var/lib/dpkg/", "var/log/", "var/cache/", "dev/")
        names = (str(Path(folder, name).relative_to(self.path)) for folder, _, files in os.walk(self.path) for name in files)
        return {name for name in names if not name.startswith(own)}

    def bring(self, package, name):
        shutil.copy(package, self.path / "root" / name)
        return f"/root/{name}"


def lives(root, older, newer, version):
    wanted = [root.path / "etc/systemd/system/multi-user.target.wants" / unit for unit in UNITS]
    root.dpkg("-i", older)
    assert root.status() == f"ii  {OLDER}", root.status()
    assert all(link.is_symlink() for link in wanted), "a service is not enabled"
    account = root.run("getent", "passwd", "cloister").stdout.split(":")
    assert account[5:] == ["/nonexistent", "/usr/sbin/nologin\n"] and 0 < int(account[2]) < 1000, account
    assert root.run("cloister", "--help").returncode == 0
    assert not root.run("sh", "-c", "ldd /usr/bin/cloister /usr/bin/cloisterd /usr/bin/cloister-vmm | grep 'not found'").stdout

    # What an administrator has set stays; so do records and the secret, until a purge.
    root.run("systemctl", "disable", *UNITS)
    state = root.path / "var/lib/cloister/platform-secret"
    state.parent.mkdir(mode=0o700)
    state.write_text("secret")
    root.dpkg("-i", newer)
    assert root.status() == f"ii  {version}", root.status()
    assert not any(link.is_symlink() for link in wanted), "an upgrade has enabled a service"
    root.dpkg("-r", "cloister")
    assert root.status().startswith("rc "), root.status()
    assert state.read_text() == "secret" and not (root.path / "usr/bin/cloisterd").exists()
    root.dpkg("-i", newer)
    assert state.read_text() == "secret"
    root.dpkg("-P", "cloister")
    assert "no packages found" in root.status(), root.status()
    assert not state.parent.exists(), "a purge has left the state"
    # The account stays, so that its number is given to nobody else.
    kept = {"etc/passwd-", "etc/group-", "etc/shadow-", "etc/gshadow-", "etc/subuid-", "etc/subgid-"}
    left = root.files() - root.before - kept - {"root/older.deb", "root/newer.deb"}
    assert not left, f"a purge has left {sorted(left)}"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", type=Path, required=True)
    parser.add_argument("--root", type=Path, required=True, help="what scripts/debian-root made")
    options = parser.parse_args()
    if os.geteuid() != 0 or not options.root.exists():
        print(f"skipped: it takes root, and {options.root} (scripts/debian-root)")
        return SKIPPED
    if missing := [tool for tool in ("cpack", "dpkg-shlibdeps", "chroot", "tar") if not shutil.which(tool)]:
        print(f"skipped: {', '.join(missing)} not installed")
        return SKIPPED
    with tempfile.TemporaryDirectory(prefix="cr-", dir=options.build) as name:
        folder = Path(name)
        root = Root(options.root.resolve(), folder)
        older = make(options.build, folder / "older", "-D", f"CPACK_PACKAGE_VERSION={OLDER}", "-D", f"CPACK_DEBIAN_PACKAGE_VERSION={OLDER}")
        newer = make(options.build, folder / "newer")
        version = subprocess.run(["dpkg-deb", "-f", newer, "Version"], check=True, capture_output=True, text=True).stdout.strip()
        lives(root, root.bring(older, "older.deb"), root.bring(newer, "newer.deb"), version)
    return 0


if __name__ == "__main__":
    sys.exit(main())
