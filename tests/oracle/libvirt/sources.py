#!/usr/bin/python3
"""`cloister cpu` against libvirt's own test data: hosts, comparisons, domains and command lines from the source packages
that Debian has. Nothing of them is kept: they are fetched by apt, and the test is skipped where it cannot have them.

    models     each host's model and features are those of libvirt's expected file, for the map of that version
    compare    check's verdicts are those of cputest.c's comparisons
    domains    no domain that libvirt accepts is refused, and lint finds nothing in it
    arguments  -machine, -accel, -smp and -cpu of what render writes are those of libvirt's own .args
    offers     what probe says of SGX in domain capabilities, and in recorded sessions with QEMU's monitor, is what
               libvirt says there, with the sizes of the EPC sections

sources_known.py lists what differs and who is right; an entry that no longer differs fails the test, and so do more than 2 %.
"""

import argparse
import collections
import concurrent.futures
import json
import os
import re
import shlex
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from xml.etree import ElementTree

from sources_known import KNOWN

SKIPPED = 77
SUITES = ("bookworm", "trixie")
ARCHIVE = "http://deb.debian.org/debian"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
WANTED = re.compile(r"[^/]+/(src/cpu_map/|tests/(cputest\.c|cputestdata/x86|qemuxml2argvdata/|qemuxmlconfdata/|"
                    r"domaincapsdata/[^/]*x86_64\.xml|qemucapabilitiesdata/[^/]*x86_64[^/]*\.(replies|xml)))")


def fetch(suite, folder):
    """The package's source as Debian's archive has it, below a folder of the test's own; None: it cannot be had."""
    folder.mkdir(exist_ok=True)
    for name in ("lists/partial", "cache/archives/partial", "source"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "sources.list").write_text(f"deb-src [signed-by={KEYRING}] {ARCHIVE} {suite} main\n")
    options = [f"-oDir::Etc::sourcelist={folder}/sources.list", "-oDir::Etc::sourceparts=/dev/null",
               f"-oDir::State={folder}", f"-oDir::State::lists={folder}/lists", "-oDir::State::status=/dev/null",
               f"-oDir::Cache={folder}/cache", "-oAPT::Sandbox::User="]
    for command in (["update"], ["source", "--download-only", "libvirt"]):
        try:
            subprocess.run(["apt-get", *options, *command], cwd=folder / "source", capture_output=True, timeout=600, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return None
    # apt checks what it keeps; that a signature is gone from the archive is no matter.
    return next((folder / "source").glob("libvirt_*.orig.tar.xz"), None)


def unpack(archive, folder):
    with tarfile.open(archive) as tar:
        for member in tar:
            if (member.isfile() or member.issym()) and WANTED.match(member.name):
                member.name = member.name.partition("/")[2]
                tar.extract(member, folder, filter="data") if hasattr(tarfile, "data_filter") else tar.extract(member, folder)


class Source:
    """What a version has, and what came of it."""

    def __init__(self, root, cloister):
        self.root, self.cloister = root, cloister
        self.map = str(root / "src/cpu_map")
        self.hosts = root / "tests/cputestdata"
        domains = [root / "tests" / name for name in ("qemuxmlconfdata", "qemuxml2argvdata")]
        self.folder = next(folder for folder in domains if folder.is_dir())

    def run(self, *arguments):
        return subprocess.run([self.cloister, "cpu", *arguments], capture_output=True, text=True, timeout=120, check=False)

    # -------------------------------------------------------------------------------------------- models

    def models(self):
        for path in sorted(self.hosts.glob("x86_64-cpuid-*-host.xml")):
            data = path.with_name(path.name.replace("-host.xml", ".xml"))
            if data.exists():
                yield path.name, lambda d=data, p=path: self.model(d, p)

    def model(self, data, expected):
        done = self.run("baseline", str(data), "--json", "--libvirt", self.map)
        if done.returncode == 2:
            return done.stderr.strip()
        cpu = json.loads(done.stdout)["hosts"][0]["cpu"]
        theirs = ElementTree.parse(expected).getroot()
        if cpu is None or cpu["model"] != theirs.findtext("model"):
            return f"libvirt says {theirs.findtext('model')}, we say {cpu and cpu['model']}"
        ours = {f["name"] for f in cpu["features"] if f["policy"] == "require"}
        differ = ours ^ {f.get("name") for f in theirs.findall("feature")}
        differ = {name for name in differ if not name.startswith("sgx")}
        return f"features {' '.join(sorted(differ))}" if differ else None

    # -------------------------------------------------------------------------------------------- compare

    def compare(self):
        text = (self.root / "tests/cputest.c").read_text()
        pattern = r'DO_TEST_COMPARE\(VIR_ARCH_X86_64, "([^"]+)", "([^"]+)",\s*VIR_CPU_COMPARE_(\w+)\)'
        for host, cpu, verdict in re.findall(pattern, text):
            yield f"{host} {cpu}", lambda h=host, c=cpu, v=verdict: self.verdict(h, c, v)

    def verdict(self, host, cpu, theirs):
        done = self.run("check", str(self.hosts / f"x86_64-{host}.xml"), str(self.hosts / f"x86_64-{cpu}.xml"),
                        "--libvirt", self.map)
        status = {"IDENTICAL": 0, "SUPERSET": 0, "INCOMPATIBLE": 1, "ERROR": 2}[theirs]
        return None if done.returncode == status else f"libvirt says {theirs}, we end with {done.returncode}"

    # -------------------------------------------------------------------------------------------- domains

    def accepted(self):
        """Domains of x86 that libvirt makes a command line of, with the newest of these."""
        for path in sorted(self.folder.glob("*.xml")):
            arguments = self.folder / f"{path.stem}.x86_64-latest.args"
            if arguments.exists() and re.search(r"arch=['\"](x86_64|i686)['\"]", path.read_text()):
                yield path, arguments

    def domains(self):
        for path, _ in self.accepted():
            yield path.name, lambda p=path: self.accept(p)

    def accept(self, path):
        done = self.run("lint", str(path), "--libvirt", self.map)
        if done.returncode not in (0, 3):
            return (done.stderr or done.stdout).strip().replace(str(path), path.name).replace("\n", " ")[:160]
        done = self.run("render", "--for", "libvirt", "--lossy", str(path))
        return done.stderr.strip()[:160] if done.returncode == 2 else None

    # -------------------------------------------------------------------------------------------- arguments

    def arguments(self):
        for path, arguments in self.accepted():
            yield path.name, lambda p=path, a=arguments: self.same_arguments(p, a)

    def same_arguments(self, path, arguments):
        done = self.run("render", "--for", "qemu", "--lossy", str(path))
        if done.returncode == 2:
            return None  # of `domains`
        if done.returncode != 0:
            return f"render ends with {done.returncode}"
        ours, theirs = facts(done.stdout), facts(arguments.read_text())
        # What host-model is, QEMU's capabilities say; and without a <cpu> libvirt names QEMU's default.
        root = ElementTree.parse(path).getroot()
        cpu = root.find("cpu")
        if cpu is None or cpu.get("mode") == "host-model":
            ours = {name: value for name, value in ours.items() if name != "cpu" and not name.startswith("flag")}
        differ = [f"{name}: libvirt {theirs.get(name)}, we {ours.get(name)}" for name in sorted(ours) if ours[name] != theirs.get(name)]
        return "; ".join(differ) if differ else None

    # -------------------------------------------------------------------------------------------- offers

    def offers(self):
        for path in sorted((self.root / "tests/domaincapsdata").glob("*x86_64.xml")):
            yield path.name, lambda p=path: self.offer(p, p)
        for path in sorted((self.root / "tests/qemucapabilitiesdata").glob("*x86_64*.replies")):
            yield path.name, lambda p=path: self.offer(p, p.with_suffix(".xml"))

    def offer(self, path, expected):
        done = self.run("probe", "--json", str(path))
        if done.returncode == 2:
            return done.stderr.strip().replace(str(path), path.name)[:160]
        ours = json.loads(done.stdout)
        theirs = ElementTree.parse(expected).getroot().find(".//sgx")
        # Capabilities of QEMU, unlike domains', have no element where there is none.
        offered = theirs is not None and theirs.get("supported") == "yes"
        if offered != (ours["sgx"] == "enabled"):
            return f"libvirt says {'yes' if offered else 'no'}, we say {ours['sgx']}"
        if not offered:
            return None
        sizes = [int(s.get("size")) * {"KiB": 1024, "bytes": 1}[s.get("unit", "KiB")] for s in theirs.iter("section")]
        found = [section["bytes"] for section in ours["epc"]]
        return None if found == sizes else f"libvirt has sections of {sizes}, we of {found}"


def facts(text):
    """Of a command: the machine's type, the accelerator, how many processors, the model and the switches that we write."""
    words = shlex.split(text.replace("\\\n", " "))
    options = collections.defaultdict(list)
    for name, value in zip(words, words[1:]):
        options[{"-M": "-machine"}.get(name, name)].append(value)
    found = {"accel": options["-accel"][0].partition(",")[0] if options["-accel"] else None}
    for value in options["-machine"]:
        first, *fields = value.split(",")
        if "=" not in first:
            found["machine"] = first
        for field in fields:
            name, _, word = field.partition("=")
            if name == "accel" and found["accel"] is None:
                found["accel"] = word
    if options["-smp"]:
        found["smp"] = re.match(r"(?:cpus=)?(\d+)", options["-smp"][-1]).group(1)
    if options["-cpu"]:
        model, *flags = options["-cpu"][-1].split(",")
        found["cpu"] = model
        for flag in flags:
            name, equals, on = flag.partition("=")
            found["flag " + name.replace("_", "-")] = on if equals else "on"
    return found


def judge(source, kind, cases):
    """Runs the cases; what differs beyond what is known, and known entries that do not differ."""
    cases = list(cases)
    with concurrent.futures.ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        answers = dict(zip([name for name, _ in cases], pool.map(lambda case: case[1](), cases)))
    known = {name: reason for (version, of, name), reason in KNOWN.items() if of == kind and version in (None, source.root.name)}
    wrong = [f"{name}: {answer}" for name, answer in answers.items() if answer and name not in known]
    wrong += [f"{name}: no longer differs; take it out of sources_known.py" for name in known
              if name in answers and not answers[name]]
    listed = sum(1 for name in known if name in answers)
    print(f"libvirt {source.root.name}, {kind}: {len(answers) - listed - len(wrong)} of {len(answers)} as libvirt has them, "
          f"{listed} known to differ")
    return [f"{source.root.name}, {kind}: {line}" for line in wrong], listed, len(answers)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--cloister", required=True)
    parser.add_argument("--sources", help="folders named by their version, unpacked before; else they are fetched")
    arguments = parser.parse_args()
    if not arguments.sources and not os.environ.get("CLOISTER_FULL"):
        print("skipped: a test of scripts/test --full")
        return SKIPPED
    with tempfile.TemporaryDirectory() as name:
        folder = Path(arguments.sources or name)
        for suite in () if arguments.sources else SUITES:
            archive = fetch(suite, folder / f"apt-{suite}")
            if archive is None:
                continue
            version = re.match(r"libvirt_([0-9.]+)\.orig", archive.name).group(1)
            unpack(archive, folder / version)
        roots = sorted(p for p in folder.iterdir() if re.fullmatch(r"[0-9.]+", p.name))
        if not roots:
            print("skipped: Debian's source packages of libvirt cannot be had")
            return SKIPPED
        wrong, listed, asked = [], 0, 0
        for root in roots:
            source = Source(root, arguments.cloister)
            for kind in ("models", "compare", "domains", "arguments", "offers"):
                lines, known, of = judge(source, kind, getattr(source, kind)())
                wrong, listed, asked = wrong + lines, listed + known, asked + of
        if listed * 50 > asked:
            wrong.append(f"{listed} of {asked} are known to differ, more than 2 %")
    for line in wrong:
        print("FAILED:", line)
    return 1 if wrong else 0


sys.exit(main())
