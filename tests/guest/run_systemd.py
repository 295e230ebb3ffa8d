#!/usr/bin/env python3
"""The services' units and the package in a Cloister guest that has systemd as PID 1: scripts/debian-root's userland as
initramfs, with the package and a script of systemd/ in it. The domains that it starts there are payloads: software silicon
in software silicon."""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from domain import Domain, Settings
from run_guest import Failure, expect, expect_tests

SKIPPED = 77
# The scripts: the payload of their domains, and what the console must show.
SCRIPTS = {
    "package": ("resident", [r"TEST systemd/purge: ok"]),
    # The last two are said while the guest goes down, after the script: lines with the kernel's time.
    "devices": ("resident", [r"TEST devices/nothing-left: ok", r"TEST devices/log: ok"]),
    "host": ("ends", [r"TEST host/log: ok", r"\[.*cloister: alpha was asked to shut down", r"\[.*cloister: alpha has ended, 1 of 1 stopped"]),
    "user": ("ends", [r"TEST user/up: ok", r"TEST user/log: ok"]),
}
FULL_ALONE = {"package", "devices", "host", "user"}
# What a network needs, which the script loads: of the guest's kernel.
MODULES = ["virtio/virtio", "virtio/virtio_ring", "virtio/virtio_pci_legacy_dev", "virtio/virtio_pci_modern_dev", "virtio/virtio_pci",
           "net/core/failover", "net/net_failover", "net/virtio_net"]
HERE = Path(__file__).resolve().parent
# What neither systemd nor the package's scripts read; it would only be unpacked into the guest's memory. The last holds
# back manual pages and documents from what is installed.
UNUSED = ["./usr/lib/x86_64-linux-gnu/gconv", "./usr/share/zoneinfo", "./usr/share/locale", "./usr/lib/udev/hwdb.d",
          "./var/cache/*", "./var/lib/apt/*", "./etc/dpkg/dpkg.cfg.d/*"]


def pack(options, folder):
    """The userland and what the test needs, as two archives of one initramfs."""
    ramdisk = folder / "initramfs.cpio"
    patterns = [word for name in UNUSED for word in ("--exclude", name)]
    subprocess.run(["bsdtar", *patterns, "--format", "newc", "-cf", ramdisk, f"@{options.root}"], check=True)
    own = folder / "own"
    test = own / "cloister-test"
    test.mkdir(parents=True)
    subprocess.run(["cpack", "--config", options.build / "CPackConfig.cmake", "-B", folder / "made"], check=True, stdout=subprocess.DEVNULL)
    (package,) = (folder / "made").glob("cloister_*.deb")
    shutil.copy(package, test / "cloister.deb")
    shutil.copy(options.build / f"guest/payload/{SCRIPTS[options.script][0]}.elf", test / "kernel.elf")
    shutil.copy(HERE / "systemd" / options.script, test / "test")
    shutil.copy(HERE / "systemd/functions", test / "functions")
    shutil.copy(HERE.parents[1] / "guest/tests/lib", test / "lib")
    if options.script == "devices":
        for name in MODULES:
            (module,) = (options.guest / "root/lib/modules").glob(f"*-cloud-amd64/kernel/**/{name}.ko")
            shutil.copy(module, test)
        shutil.copy(options.guest / "root/bin/busybox", test)
    (own / "etc/systemd/system").mkdir(parents=True)
    shutil.copy(HERE / "systemd/cloister-test.service", own / "etc/systemd/system")
    (own / "init").symlink_to("/lib/systemd/systemd")
    second = subprocess.run(["bsdtar", "--uid", "0", "--gid", "0", "--format", "newc", "-cf", "-", "-C", own, "."], check=True, stdout=subprocess.PIPE)
    with ramdisk.open("ab") as file:
        file.write(second.stdout)
    return ramdisk


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", type=Path, required=True)
    parser.add_argument("--guest", type=Path, required=True, help="the folder of vmlinuz")
    parser.add_argument("--root", type=Path, required=True, help="what scripts/debian-root made")
    parser.add_argument("script", choices=SCRIPTS)
    options = parser.parse_args()
    if options.script in FULL_ALONE and not os.environ.get("CLOISTER_FULL"):
        print("skipped: of scripts/test --full alone (CLOISTER_FULL=1)")
        return SKIPPED
    if missing := [tool for tool in ("bsdtar", "cpack", "dpkg-shlibdeps") if not shutil.which(tool)]:
        print(f"skipped: {', '.join(missing)} not installed")
        return SKIPPED
    for needed in (options.root, options.guest / "vmlinuz"):
        if not needed.exists():
            print(f"skipped: there is no {needed} (scripts/guest-image, scripts/debian-root)")
            return SKIPPED
    settings = Settings(cloister=options.build / "bin/cloister", guest=options.guest, timeout=900)
    with tempfile.TemporaryDirectory(prefix="cs-", dir=options.build) as folder:
        ramdisk = pack(options, Path(folder))
        print(f"initramfs: {ramdisk.stat().st_size >> 20} MiB", flush=True)
        domain = Domain(settings, memory=1024, ramdisk=ramdisk,
                        extra="systemd.unit=cloister-test.service systemd.show_status=no quiet loglevel=3")
        if options.script == "devices":
            domain.config.append('vif = [ "type=user" ]')
        run = domain.run(lambda text, process: print(text, flush=True))
    try:
        expect_tests(run)
        for pattern in SCRIPTS[options.script][1]:
            expect(run.matches(pattern), f"the console did not show {pattern}")
    except Failure as failure:
        print(f"FAILED: {failure}\n{run.errors}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
