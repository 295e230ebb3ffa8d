#!/usr/bin/env python3
"""The Debian package, unpacked into a scratch root: what is in it, and a domain's life with the programs from there."""

import argparse
import gzip
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

from machine import Machine, become_reaper, domain_config, wait_until

SKIPPED = 77  # to ctest
PAGES = {"man1/cloister.1": "run", "man1/cloister-enclave.1": "sign", "man8/cloisterd.8": "--state", "man8/cloister-vmm.8": "domain"}


def output(*command, **more):
    return subprocess.run(command, check=True, capture_output=True, text=True, **more).stdout


def check_control(package):
    fields = dict(re.findall(r"^(\S+): (.*)$", output("dpkg-deb", "-f", package), re.M))
    assert fields["Package"] == "cloister" and fields["Version"] and len(fields["Description"]) > 20, fields
    for library in ("libc6", "libstdc++6", "libssl3", "libprometheus-cpp-core1.0", "passwd"):
        assert library in fields["Depends"], (library, fields["Depends"])
    for line in output("dpkg-deb", "-c", package).splitlines():
        mode, owner = line.split()[:2]
        assert owner == "root/root" and mode[8] != "w", line


def check_files(root):
    for page, word in PAGES.items():
        text = gzip.decompress((root / f"usr/share/man/{page}.gz").read_bytes()).decode()
        assert text.startswith(".TH ") and word in text.replace("\\-", "-"), page
    assert "ExecStart=/usr/bin/cloisterd\n" in (root / "usr/lib/systemd/system/cloisterd.service").read_text()
    for name in ("copyright", "README.md", "openapi.json", "daemon.md", "examples/debian.cfg"):
        assert (root / "usr/share/doc/cloister" / name).stat().st_size > 100, name
    assert not list(root.glob("etc/**/*")), "there is a file below /etc, which would have to be a conffile"


def check_completion(root, m):
    """Every verb that the program has is completed and has its place in the manual page, and so are domains' names."""

    def complete(*words):
        script = 'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _cloister; printf "%s\\n" "${COMPREPLY[@]}"'
        path = f"{root}/usr/bin:{os.environ['PATH']}"
        completion = root / "usr/share/bash-completion/completions/cloister"
        return output("bash", "-c", script, "bash", completion, *words, env={**os.environ, "PATH": path}).split()

    help_text = output(root / "usr/bin/cloister", "--help")
    verbs = re.findall(r"^  ([a-z][a-z-]*) ", help_text.partition("Subcommands:")[2], re.M)
    assert {"create", "list", "destroy", "dashboard"} <= set(verbs), help_text
    assert set(complete("cloister", "")) - {"--run", "--help"} == set(verbs)
    manual = gzip.decompress((root / "usr/share/man/man1/cloister.1.gz").read_bytes()).decode().replace("\\-", "-")
    for verb in verbs:
        assert re.search(rf"^\.B (?:.*, \\fB|cloister )?{verb}\b", manual, re.M), f"{verb} is not in cloister(1)"
    assert complete("cloister", "dashboard", "--") == ["--help", "--port"]
    cpu_help = output(root / "usr/bin/cloister", "cpu", "--help").partition("Subcommands:")[2]
    cpu_verbs = re.findall(r"^  ([a-z]+) ", cpu_help, re.M)
    assert set(complete("cloister", "cpu", "")) - {"--help"} == set(cpu_verbs), cpu_verbs
    for verb in cpu_verbs:
        assert re.search(rf"^\.B cpu {verb}\b", manual, re.M), f"cpu {verb} is not in cloister(1)"
    assert complete("cloister", "cpu", "lint", "--h") == ["--help", "--host"]
    assert complete("cloister", "cpu", "render", "--for", "li") == ["libvirt"]
    assert complete("cloister", "--run", str(m.run), "destroy", "pa") == ["packaged"]


def check_life(root, m, folder):
    def cloister(*words):
        return output(root / "usr/bin/cloister", "--run", m.run, *words)

    config = folder / "packaged.cfg"
    config.write_text(domain_config("packaged", m.kernel("resident")))
    cloister("create", str(config))
    m.wait_for_ready("packaged")
    assert "packaged" in cloister("list") and "running" in cloister("list")
    assert "READY" in cloister("dmesg", "packaged")
    (vmm,) = m.vmms()
    assert os.readlink(f"/proc/{vmm}/exe") == str(root / "usr/bin/cloister-vmm")
    check_completion(root, m)
    cloister("destroy", "packaged")
    wait_until(lambda: "packaged" not in cloister("list"), "the domain to be gone")
    m.check_settled([])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", type=Path, required=True)
    parser.add_argument("--payloads", type=Path, required=True)
    options = parser.parse_args()
    tools = ("dpkg-deb", "dpkg-shlibdeps", "cpack", "strip")
    if missing := [tool for tool in tools if not shutil.which(tool)]:
        print(f"skipped: {', '.join(missing)} not installed")
        return SKIPPED
    become_reaper()
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="cp-", dir=memory) as name:
        folder = Path(name).resolve()
        output("cpack", "--config", options.build / "CPackConfig.cmake", "-B", folder / "made")
        (package,) = (folder / "made").glob("cloister_*.deb")
        root = folder / "root"
        output("dpkg-deb", "-x", package, root)
        check_control(package)
        check_files(root)
        m = Machine(SimpleNamespace(programs=root / "usr/bin", payloads=options.payloads.resolve()), folder)
        try:
            check_life(root, m.start(), folder)
            m.kill(signal.SIGTERM)
        finally:
            m.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
