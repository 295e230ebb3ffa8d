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
PAGES = {"man1/cloister.1": "run", "man1/cloister-enclave.1": "sign", "man1/cloister-guest-image.1": "--with", "man1/cloister-debian-image.1": "--mirror", "man8/cloisterd.8": "--state",
         "man8/cloister-vmm.8": "domain", "man8/cloister-transfer.8": "TLS"}


def output(*command, **more):
    return subprocess.run(command, check=True, capture_output=True, text=True, **more).stdout


def check_control(package):
    fields = dict(re.findall(r"^(\S+): (.*)$", output("dpkg-deb", "-f", package), re.M))
    assert fields["Package"] == "cloister" and fields["Version"] and len(fields["Description"]) > 20, fields
    for library in ("libc6", "libstdc++6", "libssl3", "libprometheus-cpp-core1.0", "passwd"):
        assert library in fields["Depends"], (library, fields["Depends"])
    for line in output("dpkg-deb", "-c", package).splitlines():
        mode, owner = line.split()[:2]
        assert owner == "root/root" and (mode[8] != "w" or mode[0] == "l"), line


def check_files(root):
    for page, word in PAGES.items():
        text = gzip.decompress((root / f"usr/share/man/{page}.gz").read_bytes()).decode()
        assert text.startswith(".TH ") and word in text.replace("\\-", "-"), page
    for manager in ("system", "user"):
        units = root / "usr/lib/systemd" / manager
        assert "ExecStart=/usr/bin/cloisterd\n" in (units / "cloisterd.service").read_text()
        domains = (units / "cloister-domains.service").read_text()
        assert "ExecStop=/usr/bin/cloister host-down\n" in domains and "\nRequires=" not in domains, domains
    for name in ("copyright", "README.md", "docs/openapi.json", "docs/daemon.md", "examples/debian.cfg"):
        assert (root / "usr/share/doc/cloister" / name).stat().st_size > 100, name
    assert not list(root.glob("etc/**/*")), "there is a file below /etc, which would have to be a conffile"


def check_links(root):
    """Every link of a document, and every path that a page names, leads to a file that the package or Debian has."""
    documents = root / "usr/share/doc/cloister"
    broken = []
    for page in documents.rglob("*.md"):
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text()):
            if not re.match(r"[a-z]+:", target) and not (page.parent / target).exists() and not (page.parent / target).is_symlink():
                broken.append(f"{page.relative_to(documents)}: {target}")
    assert os.readlink(documents / "LICENSE") == "../../common-licenses/Apache-2.0"
    for page in PAGES:
        text = gzip.decompress((root / f"usr/share/man/{page}.gz").read_bytes()).decode().replace("\\-", "-")
        broken += [f"{page}: {path}" for path in re.findall(r"/usr/[\w./-]+\w", text) if not (root / path[1:]).exists()]
    assert not broken, broken


def check_lintian(package):
    if not shutil.which("lintian"):
        print("lintian is not installed: not asked")
        return
    done = subprocess.run(["lintian", "--tag-display-limit", "0", package], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and not done.stdout, done.stdout + done.stderr


def make_own(own):
    """A folder for --with: names with spaces, links, modes, and a test of its own that looks at them."""
    (own / "tests").mkdir(parents=True)
    (own / "my data/empty folder").mkdir(parents=True)
    (own / "my data/a file").write_text("brought\n")
    (own / "my data/a file").chmod(0o640)
    (own / "my data/a link").symlink_to("a file")
    (own / "my data/nowhere").symlink_to("/there is none")
    (own / "bin").mkdir(mode=0o700)
    (own / "bin/one-more").write_text("#!/bin/sh\n")
    (own / "bin/one-more").chmod(0o4755)
    script = own / "tests/own"
    script.write_text("""#!/bin/sh
. /tests/lib
check_equal contents "$(cat '/my data/a link')" brought
check_equal modes "$(stat -c '%a %u %g' '/my data/a file' /bin/one-more /bin | tr '\\n' ,)" "640 0 0,4755 0 0,755 0 0,"
check_equal links "$(readlink '/my data/a link') $(readlink '/my data/nowhere')" "a file /there is none"
check_equal empty "$(ls '/my data/empty folder' | wc -l)" 0
""")
    script.chmod(0o755)


def check_examples(root, folder, guest):
    """Who installed the package makes a guest, with a folder of one's own in it, and runs an example."""
    work = folder / "work"
    shutil.copytree(root / "usr/share/doc/cloister/examples", work / "examples")
    for example in (work / "examples").iterdir():
        assert not re.search(r"build/|scripts/", example.read_text()), example
    # What was downloaded once need not be again.
    shutil.copytree(guest / "packages", work / "guest/packages", symlinks=True)
    own = folder / "own"
    make_own(own)
    environment = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache"), "PATH": f"{root}/usr/bin:{os.environ['PATH']}"}

    def image(*words):
        return subprocess.run(["cloister-guest-image", *words], cwd=work, env=environment, capture_output=True, text=True, timeout=500)

    for words, expected in ((["--with", "nothing here"], "error: --with nothing here: expected a folder that can be read"),
                            (["--with"], "error: --with: expected a folder")):
        done = image(*words)
        assert done.returncode == 1 and done.stderr == expected + "\n", done
    done = image("--with", str(own))
    assert done.returncode == 0, done
    config = work / "examples/debian.cfg"
    config.write_text(config.read_text().replace('cmdline = "console=ttyS0"', 'cmdline = "console=ttyS0 cloister.test=own"'))
    run = subprocess.run(["cloister", "run", "--timeout", "300", "examples/debian.cfg"], cwd=work, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert run.returncode == 0, run
    assert len(re.findall(r"TEST own/\w+: ok", run.stdout)) == 4 and "FAIL" not in run.stdout, run.stdout

    # What the image has itself is nobody else's.
    (own / "init").write_text("")
    (own / "dev").mkdir()
    (own / "dev/mine").write_text("")
    done = image("--with", str(own))
    assert done.returncode == 1, done
    assert "cannot be packed: dev/mine (hidden by what the guest mounts there)" in done.stderr, done.stderr
    assert "nor: init (one of the image's own)" in done.stderr, done.stderr


def as_split(words):
    """As the shell does, at each : and = (COMP_WORDBREAKS)."""
    return [piece for word in words for piece in (re.findall("[:=]+|[^:=]+", word) or [""])]


def check_completion(root, m):
    """Every verb that the program has is completed and has its place in the manual page, and so are domains' names."""

    def complete(*words):
        script = ('source "$1"; COMP_LINE=$2; shift 2; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _cloister; '
                  'printf "%s\\n" "${COMPREPLY[@]}"')
        path = f"{root}/usr/bin:{os.environ['PATH']}"
        completion = root / "usr/share/bash-completion/completions/cloister"
        return output("bash", "-c", script, "bash", completion, " ".join(words), *as_split(words),
                      env={**os.environ, "PATH": path}).split()

    help_text = output(root / "usr/bin/cloister", "--help")
    verbs = re.findall(r"^  ([a-z][a-z-]*) ", help_text.partition("Subcommands:")[2], re.M)
    assert {"create", "list", "destroy", "dashboard"} <= set(verbs), help_text
    assert set(complete("cloister", "")) - {"--run", "--help", "--version"} == set(verbs)
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
    assert complete("cloister", "top", "--delay", "3", "--i") == ["--iterations"]
    assert complete("cloister", "cpu", "check", str(root), str(root / "us")) == [str(root / "usr")]
    assert complete("cloister", "sing", "") == complete("cloister", "list", "") == []
    assert complete("cloister", "--run", str(m.run), "destroy", "pa") == ["packaged"]
    assert complete("cloister", f"--run={m.run}", "destroy", "pa") == ["packaged"]
    assert complete("cloister", f"--run={root / 'us'}") == [str(root / "usr")]
    for typed in ("gr", "group:", "group:bl"):
        (found,) = complete("cloister", "--run", str(m.run), "keys", "erase", typed)
        assert typed[: typed.find(":") + 1] + found == "group:blue", (typed, found)


def check_life(root, m, folder):
    def cloister(*words):
        return output(root / "usr/bin/cloister", "--run", m.run, *words)

    config = folder / "packaged.cfg"
    config.write_text(domain_config("packaged", m.kernel("resident"), sgx_platform='"group:blue"'))
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
    parser.add_argument("--guest", type=Path, required=True, help="what scripts/guest-image made")
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
        check_links(root)
        check_lintian(package)
        m = Machine(SimpleNamespace(programs=root / "usr/bin", payloads=options.payloads.resolve()), folder)
        try:
            check_life(root, m.start(), folder)
            m.kill(signal.SIGTERM)
        finally:
            m.close()
        if (options.guest / "packages").exists():
            check_examples(root, folder, options.guest.resolve())
        else:
            print(f"there is no {options.guest}/packages (scripts/guest-image): no guest was made")
    return 0


if __name__ == "__main__":
    sys.exit(main())
