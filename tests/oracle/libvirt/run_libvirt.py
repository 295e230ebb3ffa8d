#!/usr/bin/python3
"""Debian's libvirt, QEMU and Nova as judges of what `cloister cpu render` writes. One case a run: run_libvirt.py CASE.

Domains become ones of QEMU's interpreter before libvirt and QEMU see them, on every host: with KVM their processors would
be compared with this one, of which no domain of the test is."""

import argparse
import difflib
import json
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path
from xml.etree import ElementTree

import argv
import qmp
from domains import domains
from hosts import SGX_FLAGS, feature_bits, features_of_cpu, pools, removed_from
from libvirtd import Libvirtd

SKIPPED = 77  # to ctest
QEMU = "qemu-system-x86_64"
SCHEMA = "/usr/share/libvirt/schemas/domain.rng"
VEPC = "/dev/sgx_vepc"
# What QEMU 7.2 says of an object type that it registers only if it could open that (backends/hostmem-epc.c).
NO_BACKEND = "invalid object type: memory-backend-epc"
NO_SGX = "sgx epc isn't supported by this QEMU binary"  # what libvirt 9.0 says where query-sgx-capabilities fails
SGX = set(SGX_FLAGS)
EPC_UNIT = 2 << 20  # libvirt rounds the sizes of memory devices up to it
# What a domain of KVM is without it (https://libvirt.org/formatdomain.html, "CPU model and topology").
INTERPRETED = (("<domain type='kvm'", "<domain type='qemu'"), (" check='partial'", " check='none'"),
               ("<cpu mode='host-passthrough'", "<cpu mode='maximum'"))
# Losses that are right: features that libvirt 9.0 and QEMU 7.2 do not have, launch control, and of Nova, which has no nodes
# of different sizes.
LOSS = (r"cannot be said: (?:feature (\S+): .* has no word for it|launch hash [0-9a-f]{64}: .*"
        r"|a launch hash that the guest may not write: .*|\d+ guest NUMA nodes of the EPC: .*)")


class Skipped(Exception):
    """Why this machine cannot run the case."""


def need(*programs):
    for program in programs:
        if not (shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin")):
            raise Skipped(f"{program} is not installed")


def interpreted(xml):
    for ours, theirs in INTERPRETED:
        xml = xml.replace(ours, theirs, 1)
    return xml


def with_kvm(xml):
    """For us: without KVM there is no SGX to be written."""
    return xml.replace(INTERPRETED[0][1], INTERPRETED[0][0], 1)


class Judge:
    def __init__(self, program, examples, folder):
        self.program, self.folder = program, folder
        self.lost = {}  # features that a target has no word for, by target
        self.domains = domains(folder, examples)

    def run(self, verb, *arguments):
        return subprocess.run([self.program, "cpu", verb, *arguments], capture_output=True, text=True, cwd=self.folder,
                              timeout=60)

    def render(self, target, file):
        """What is printed; features that are not in it are remembered."""
        done = self.run("render", "--for", target, file)
        losses = [re.search(LOSS + "$", line) for line in done.stderr.splitlines() if "cannot be said" in line]
        if done.returncode == 1 and losses and all(losses):
            self.lost.setdefault(target, set()).update(loss.group(1) for loss in losses if loss.group(1))
            done = self.run("render", "--for", target, "--lossy", file)
        assert done.returncode == 0, f"render --for {target} {file} ended with {done.returncode}: {done.stderr}"
        return done.stdout

    def xml(self, domain, emulator=None):
        """The file of the domain's XML; with an emulator, as a domain of that and of QEMU's interpreter."""
        text = self.render("libvirt", domain.config)
        if emulator:
            text = interpreted(text)
            text = re.sub(r"\s*<emulator>.*</emulator>", "", text)
            text = text.replace("<devices>", f"<devices><emulator>{emulator}</emulator>", 1)
            assert str(emulator) in text, f"no <devices> in the XML of {domain.name}"
        file = self.folder / f"{domain.name}.xml"
        file.write_text(text)
        file.chmod(0o644)
        return file

    def argv(self, file):
        """QEMU's arguments, as a shell would read them."""
        return shlex.split(self.render("qemu", file).replace("\\\n", " "))[1:]


def each(judge, what):
    """Does `what` for each domain, and fails with all that failed."""
    failures = []
    for domain in judge.domains:
        try:
            what(domain)
        except AssertionError as error:
            failures.append(f"{domain.name}: {error}\n{domain.config.read_text()}")
    assert not failures, f"{len(failures)} of {len(judge.domains)} domains\n" + "\n".join(failures)
    print(f"{len(judge.domains)} domains")


def same_facts(ours, theirs):
    lines = ["\n".join(f"{key}: {value}" for key, value in vars(facts).items()).splitlines() for facts in (ours, theirs)]
    assert ours == theirs, "\n".join(difflib.unified_diff(*lines, "ours", "libvirt's", lineterm="", n=0))


def schema(judge):
    """The XML of every domain is valid by libvirt's schema."""
    need("xmllint")
    if not Path(SCHEMA).exists():
        raise Skipped(f"{SCHEMA} is not installed")
    files = [judge.xml(domain) for domain in judge.domains]
    done = subprocess.run(["xmllint", "--noout", "--relaxng", SCHEMA, *files], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    print(f"{len(files)} domains")


def define(judge):
    """libvirtd takes every domain, and its own XML of it says the same to QEMU as ours."""
    need("libvirtd", "virsh", QEMU)
    with Libvirtd(judge.folder / "lv", shutil.which(QEMU)) as libvirt:

        def one(domain):
            libvirt.ask("define", judge.xml(domain, libvirt.emulator))
            echo = judge.folder / f"{domain.name}-echo.xml"
            echo.write_text(with_kvm(libvirt.ask("dumpxml", domain.name)))
            same_facts(argv.facts(argv.with_tcg(judge.argv(domain.config))), argv.facts(argv.with_tcg(judge.argv(echo))))
            again = judge.folder / f"{domain.name}-again.xml"
            again.write_text(interpreted(judge.render("libvirt", echo)))
            libvirt.ask("define", again)
            libvirt.ask("undefine", domain.name)

        each(judge, one)
        if not Path(VEPC).exists():
            example = judge.domains[0]
            answer = libvirt.virsh("define", judge.xml(example, shutil.which(QEMU)))
            assert NO_SGX in answer.stderr, f"with a QEMU that reports no SGX libvirt says {answer.stderr!r}"


def host_has(node):
    return Path(f"/sys/devices/system/node/node{node}").exists()


def native(judge):
    """libvirt makes the same of the domain's XML as we of its configuration."""
    need("libvirtd", "virsh", QEMU)
    compared = []
    with Libvirtd(judge.folder / "lv", shutil.which(QEMU)) as libvirt:

        def one(domain):
            ours = argv.facts(argv.with_tcg(judge.argv(domain.config)))
            answer = libvirt.virsh("domxml-to-native", "qemu-argv", judge.xml(domain, libvirt.emulator))
            absent = [node for section in ours.epc for node in section["host nodes"] if not host_has(node)]
            if absent:
                assert f"NUMA node {absent[0]} is unavailable" in answer.stderr, answer.stderr
                return
            assert answer.returncode == 0, answer.stderr
            words = shlex.split(answer.stdout)
            for section in ours.epc:
                section["size"] += -section["size"] % EPC_UNIT
            theirs = argv.facts(words[words.index(str(libvirt.emulator)) + 1:])
            for flag in removed_from(theirs.cpu) - set(ours.flags):
                assert not theirs.flags.pop(flag, False), f"libvirt switches {flag} on"
            same_facts(ours, theirs)
            compared.append(domain)

        each(judge, one)
    known = judge.lost.get("libvirt", set()) & set(feature_bits())
    assert not known, f"libvirt has words for {known}"
    assert len(compared) > len(judge.domains) / 2
    print(f"{len(compared)} command lines")


def qemu(judge):
    """QEMU takes our command line; with EPC, as far as a machine without /dev/sgx_vepc goes."""
    need(QEMU)

    def one(domain):
        arguments = argv.with_tcg(judge.argv(domain.config))
        status, _, errors = qmp.run(QEMU, argv.without_epc(arguments))
        errors = [line for line in errors.splitlines() if "TCG doesn't support requested feature" not in line]
        assert status == 0 and not errors, f"QEMU ended with {status}: {errors}"
        if argv.facts(arguments).epc and not Path(VEPC).exists():
            status, _, errors = qmp.run(QEMU, arguments)
            assert status != 0 and NO_BACKEND in errors, f"with EPC QEMU ended with {status}: {errors}"

    each(judge, one)


def flags(judge):
    """Every flag that we print is one that QEMU has for that model, in -cpu help and by QMP."""
    need(QEMU)
    properties = qmp.cpu_properties(QEMU)
    listed = subprocess.run([QEMU, "-cpu", "help"], capture_output=True, text=True, check=True).stdout
    listed = set(listed.split("Recognized CPUID flags:")[1].split())
    printed = set()

    def one(domain):
        facts = argv.facts(judge.argv(domain.config))
        if not facts.cpu:
            return
        assert facts.cpu in properties, f"QEMU has no model {facts.cpu!r}"
        for flag in facts.flags:
            assert flag in properties[facts.cpu] and flag in listed, f"QEMU's {facts.cpu} has no flag {flag!r}"
        printed.update(facts.flags)

    each(judge, one)
    known = judge.lost.get("qemu", set()) & listed
    assert not known, f"QEMU has words for {known}"
    assert {"sgx", "sgx1"} <= printed, printed
    print("flags:", *sorted(printed))


def read_nova_conf(file):
    """The settings as Nova's compute service reads them."""
    try:
        from oslo_config import cfg
        from nova.conf import libvirt as options
    except ImportError as error:
        raise Skipped(f"Nova is not installed: {error}") from error
    conf = cfg.ConfigOpts()
    options.register_opts(conf)
    conf(args=[], default_config_files=[str(file)])
    return conf.libvirt


def nova(judge):
    """nova.conf, read with Nova's own definitions, asks libvirt for the processor that our XML asks it for."""
    modes = set()

    def one(domain):
        file = judge.folder / f"{domain.name}.conf"
        file.write_text(judge.render("nova", domain.config))
        settings = read_nova_conf(file)
        cpu = ElementTree.parse(judge.xml(domain)).find("cpu")
        assert settings.virt_type == "kvm", settings.virt_type
        assert settings.cpu_mode == cpu.get("mode"), (settings.cpu_mode, cpu.get("mode"))
        assert settings.cpu_models == [model.text for model in cpu.findall("model")], settings.cpu_models
        wanted = {feature.get("name"): feature.get("policy") for feature in cpu.findall("feature")}
        found = {flag.lstrip("+-"): "disable" if flag[0] == "-" else "require" for flag in settings.cpu_model_extra_flags}
        assert found == wanted, f"nova.conf asks for {found}, the XML for {wanted}"
        modes.add(settings.cpu_mode)

    each(judge, one)
    assert "custom" in modes, modes


# The document that this began with: what its nova.conf asks for, and the -cpu that its QEMU then had.
MODEL = "Skylake-Client-IBRS"
NOVA_FLAGS = "sgx,sgxlc,sgx1,sgx-provisionkey,sgx-tokenkey,sgx-debug,sgx-mode64"
CPU = f"{MODEL},sgx=on,sgx-mode64=on,sgx-provisionkey=on,sgx-tokenkey=on,sgx1=on,sgxlc=on"


def document_xml(flags, emulator):
    features = "".join(f"<feature policy='require' name='{flag}'/>" for flag in flags)
    return f"""<domain type='qemu'>
  <name>document</name><memory unit='MiB'>512</memory><vcpu>1</vcpu>
  <os><type arch='x86_64' machine='q35'>hvm</type></os>
  <cpu mode='custom' match='exact'><model fallback='forbid'>{MODEL}</model>{features}</cpu>
  <devices><emulator>{emulator}</emulator></devices>
</domain>
"""


def document(judge):
    """The document's processor: one -cpu, to the letter as libvirt makes it, and its nova.conf."""
    need("libvirtd", "virsh", QEMU)
    file = judge.folder / "document.xml"
    with Libvirtd(judge.folder / "lv", shutil.which(QEMU)) as libvirt:
        flags = [flag.removesuffix("=on") for flag in CPU.split(",")[1:]]
        file.write_text(document_xml(flags, libvirt.emulator))
        theirs = shlex.split(libvirt.ask("domxml-to-native", "qemu-argv", file))
    file.write_text(with_kvm(file.read_text()))
    ours = judge.argv(file)
    assert [value for name, value in argv.options(ours) if name == "-cpu"] == [CPU], ours
    assert theirs[theirs.index("-cpu") + 1] == CPU and theirs.count("-cpu") == 1, theirs
    status, _, errors = qmp.run(QEMU, argv.with_tcg(ours))
    assert status == 0, errors

    file.write_text(with_kvm(document_xml(NOVA_FLAGS.split(","), "/usr/bin/" + QEMU)))
    conf = judge.folder / "nova.conf"
    conf.write_text(judge.render("nova", file))
    settings = read_nova_conf(conf)
    assert settings.cpu_mode == "custom" and settings.cpu_models == [MODEL], (settings.cpu_mode, settings.cpu_models)
    assert settings.cpu_model_extra_flags == NOVA_FLAGS.split(","), settings.cpu_model_extra_flags


def our_baseline(judge, index, pool):
    files = []
    for number, host in enumerate(pool):
        files.append(judge.folder / f"pool-{index}-host-{number}.xml")
        files[-1].write_text(host.cpudata())
    answer = json.loads(judge.run("baseline", "--json", *files).stdout)["cpu"]
    features = "".join(f"<feature policy='{each['policy']}' name='{each['name']}'/>" for each in answer["features"])
    return features_of_cpu(f"<cpu><model>{answer['model']}</model>{features}</cpu>")


def baseline(judge):
    """A pool's processor is the one that libvirt finds for the same hosts. QEMU's interpreter lacks some of it."""
    need("libvirtd", "virsh", QEMU)
    with Libvirtd(judge.folder / "lv", shutil.which(QEMU)) as libvirt:
        for index, pool in enumerate(pools()):
            file = judge.folder / f"pool-{index}.xml"
            file.write_text("".join(host.cpu_element() for host in pool))
            ours = our_baseline(judge, index, pool)
            theirs = features_of_cpu(libvirt.ask("cpu-baseline", file))
            assert ours - SGX == theirs - SGX, f"pool {index}: only ours {ours - theirs}, only libvirt's {theirs - ours}"
            emulated = features_of_cpu(libvirt.ask("hypervisor-cpu-baseline", "--virttype", "qemu", "--emulator",
                                                   libvirt.emulator, file))
            assert emulated - SGX <= ours, f"pool {index}: only libvirt's {emulated - ours}"
    print(f"{len(pools())} pools")


def compare(judge):
    """This host has a flag for us if it has it for libvirt."""
    need("libvirtd", "virsh", QEMU)
    known = [name for name, bits in feature_bits().items() if bits]
    file, have = judge.folder / "cpu.xml", {}
    with Libvirtd(judge.folder / "lv", shutil.which(QEMU)) as libvirt:
        for name in known[::4]:
            file.write_text(f"<cpu><arch>x86_64</arch><model>486</model><feature name='{name}'/></cpu>")
            have[name] = libvirt.virsh("cpu-compare", file).returncode == 0
    wrong = [name for name, there in have.items() if (judge.run("check", "host", name).returncode == 0) != there]
    assert not wrong, f"libvirt and we do not agree on {wrong}"
    assert len(set(have.values())) == 2, have
    print(f"{len(have)} flags")


CASES = {case.__name__: case for case in (schema, define, native, qemu, flags, nova, document, baseline, compare)}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--program", type=Path, required=True, help="cloister")
    parser.add_argument("--examples", type=Path, required=True)
    parser.add_argument("case", choices=sorted(CASES))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cl-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "lv").mkdir()
        try:
            CASES[options.case](Judge(options.program.resolve(), options.examples.resolve(), folder))
            return 0
        except Skipped as why:
            print(f"skipped: {why}")
            return SKIPPED
        except Exception:
            traceback.print_exc()
            return 1


if __name__ == "__main__":
    sys.exit(main())
