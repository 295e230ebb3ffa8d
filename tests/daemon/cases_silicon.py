"""The processors of domains: a machine's silicon, a domain's own, and dumps."""

import json
import re
import socket
import subprocess
import unittest
from pathlib import Path

from cases_ends import press
from cases_migration import Pair
from cases_persist import FAILED, WRONG
from machine import PATIENCE, domain_config, wait_until

SKYLAKE = """
silicon = "skylake-client"
[[package]]
epc = [{ base = 0x1_0000_0000, size = 128 }]
"""
# What the payload needs.
SGX1 = {"epc": 64, "kernel": "sgx1", "paused": True, "sgx_provision": 1}
MODEL = 0x506E3  # Skylake's signature

# The leaves of a first-generation processor, as `cpuid -r` prints them.
DUMP = """CPU 0:
   0x00000000 0x00: eax=0x00000016 ebx=0x756e6547 ecx=0x6c65746e edx=0x49656e69
   0x00000001 0x00: eax=0x000506e3 ebx=0x00100800 ecx=0x77fafbff edx=0xbfebfbff
   0x00000007 0x00: eax=0x00000000 ebx=0x029c67af ecx=0x00000000 edx=0x00000000
   0x0000000d 0x01: eax=0x0000000f ebx=0x000003c0 ecx=0x00000100 edx=0x00000000
   0x00000012 0x00: eax=0x00000001 ebx=0x00000000 ecx=0x00000000 edx=0x0000241f
   0x00000012 0x01: eax=0x00000036 ebx=0x00000000 ecx=0x0000001f edx=0x00000000
   0x80000000 0x00: eax=0x80000008 ebx=0x00000000 ecx=0x00000000 edx=0x00000000
   0x80000001 0x00: eax=0x00000000 ebx=0x00000000 ecx=0x00000121 edx=0x2c100000
"""


def console_to_the_end(m, name):
    """What a domain that was created paused prints until it has ended."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as console:
        console.settimeout(PATIENCE)
        console.connect(m.domains()[name]["console"])
        assert m.request("POST", f"/v1/domains/{name}/unpause").status in (200, 404)  # 404: it has ended already
        seen = b""
        while chunk := console.recv(65536):
            seen += chunk
        return seen.decode()


def first_generation(text):
    """The payload found SGX1 alone, without launch control, and nothing that it should not have found."""
    assert "DONE cases=" in text and " failures=0" in text, text[-2000:]


def registers(stage, leaf, subleaf=0):
    (found,) = [c for c in stage["cpuid"] if (c["leaf"], c["subleaf"]) == (leaf, subleaf)]
    return found


def check_policy(policy, stages):
    """In these stages the processor is of the first generation, in the others it is not."""
    for name in ("raw", "host", "maximum", "default", "domain"):
        stage, old = policy[name], name in stages
        assert (registers(stage, 0x12)["eax"] == 1) == old, (name, registers(stage, 0x12))
        assert ("sgxlc" in registers(stage, 7)["names"]) != old, (name, registers(stage, 7))
        assert (registers(stage, 1)["eax"] == MODEL) == old, (name, registers(stage, 1))
        control, hash0 = stage["msrs"][:2]
        assert control["value"] == ("0x40001" if old else "0x60001"), (name, control)
        assert (hash0["value"] is None) == old, (name, hash0)


def silicon(machine):
    """A domain's processor is the machine's, or what its configuration says of it: to the guest, in its policy, and
    after a restart of the daemon."""
    m = machine()
    folder = m.state.parent
    dump = folder / "first.dump"
    dump.write_text(DUMP)
    for name, processor in (("named", "skylake-client"), ("dumped", "./first.dump")):
        creation = m.creation(name, **SGX1, silicon=f'"{processor}"') | {"directory": str(folder)}
        answer = m.request("POST", "/v1/domains", creation)
        assert answer.status == 201 and "warnings" not in answer.json, answer.body
    before = {name: m.get(f"/v1/domains/{name}/policy") for name in ("named", "dumped")}
    dump.unlink()
    m.restart()
    assert {name: domain["silicon"] for name, domain in m.domains().items()} == {"named": "skylake-client", "dumped": "./first.dump"}
    for name, policy in before.items():
        check_policy(policy, ["domain"])
        assert m.get(f"/v1/domains/{name}/policy") == policy
        first_generation(console_to_the_end(m, name))
    wait_until(lambda: m.domains() == {}, "both ends")

    # On a machine of that generation every domain has it, and none has more.
    old = machine(SKYLAKE)
    assert old.get("/v1/host")["silicon"] == "skylake-client" and old.get("/v1/epc")["launch_control"] == "none"
    old.create("plain", **SGX1)
    newer = old.create("newer", **SGX1, silicon='"icelake-server"')
    (warning,) = newer["warnings"]
    assert warning.startswith("newer.cfg:7:11: silicon 'icelake-server': the machine's silicon, 'skylake-client'") and "sgx2" in warning
    assert {name: domain["silicon"] for name, domain in old.domains().items()} == {"plain": "skylake-client", "newer": "icelake-server"}
    check_policy(old.get("/v1/domains/plain/policy"), ["raw", "host", "maximum", "default", "domain"])
    ours = old.get("/v1/domains/newer/policy")["domain"]
    assert registers(ours, 0x12)["eax"] == 1 and "sgxlc" not in registers(ours, 7)["names"], ours
    first_generation(console_to_the_end(old, "plain"))
    old.destroy("newer")

    # A libvirt model has of SGX what its flags say, as far as the machine has it; the guest's processor is its VMM's doing.
    flags = "sgx,sgx1,sgx2,sgx-debug,sgx-mode64,sgx-provisionkey,sgx-tokenkey"
    model = old.create("model", **SGX1, silicon='"Skylake-Client-IBRS"', cpu_flags=f'"{flags}"')
    (warning,) = model["warnings"]
    assert warning == "model.cfg:8:13: 'cpu_flags': not offered by the machine, and left out: sgx2", warning
    ours = old.get("/v1/domains/model/policy")["domain"]
    assert registers(ours, 1)["eax"] == 0x506E0 and registers(ours, 0x12)["eax"] == 1, ours
    first_generation(console_to_the_end(old, "model"))

    # `cloister run` makes the same of the same machine.
    config = folder / "run.cfg"
    config.write_text(domain_config("run", old.kernel("sgx1"), epc=64, sgx_provision=1))
    command = [m.settings.programs / "cloister", "run", "--machine", old.description, config]
    first_generation(subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True, stdin=subprocess.DEVNULL).stdout)


def without_avx(dump):
    """The same processor without AVX, and what needs it."""
    return dump.replace("ecx=0x77fafbff", "ecx=0x47faebff").replace("ebx=0x029c67af", "ebx=0x029c678f")


def vectors(m, name):
    """What the guest reads of it now."""
    before = m.console(name).count(b"CPUID ")
    press(m, name, b"c")
    wait_until(lambda: len(re.findall(rb"CPUID .*\n", m.console(name))) > before, "what CPUID says")
    return re.findall(rb"CPUID (.*)\n", m.console(name))[-1].decode().split()


def has_avx(words):
    """All of it or nothing: AVX, AVX2, XCR0 and the enclaves' XFRM."""
    leaf1, leaf7, _, xcr0, area, xfrm = (int(word, 16) for word in words)
    found = {leaf1 >> 28 & 1, leaf7 >> 5 & 1, xcr0 >> 2 & 1, int(area == 832), xfrm >> 2 & 1}
    assert len(found) == 1, words
    return found == {1}


def vector_features(machine):
    """AVX is what the host had when the domain started. The dump stands for the host: it loses AVX, and has it again."""
    if " avx2 " not in Path("/proc/cpuinfo").read_text():
        raise unittest.SkipTest("this host has no AVX2")
    pair = Pair(machine)
    a, b, cloister = pair.a, pair.b, pair.cloister
    dump = cloister.folder / "host.dump"
    old, new = without_avx(DUMP), DUMP
    text = domain_config("web", a.kernel("ends"), 1, silicon='"./host.dump"')
    config = cloister.file("web", text)

    dump.write_text(old)
    cloister("create", config)
    a.wait_for_ready("web")
    had = vectors(a, "web")
    assert not has_avx(had), had
    # It goes on so on a host that has AVX: from a file, at another daemon, found by a new one, and after its reset.
    dump.write_text(new)
    cloister("save", "--enclaves=lose", "web", "old.saved")
    cloister("restore", "old.saved")
    assert vectors(a, "web") == had
    pair.migrate()
    wait_until(lambda: pair.lives(b) == "running", "its arrival")
    assert vectors(b, "web") == had
    before = b.get("/v1/domains/web/policy")["domain"]
    b.restart()
    assert b.get("/v1/domains/web/policy")["domain"] == before
    readies = b.console("web").count(b"READY")
    press(b, "web", b"r")
    wait_until(lambda: b.console("web").count(b"READY") > readies, "READY after its reset")
    assert vectors(b, "web") == had
    b.destroy("web")
    # What starts there has it; and goes on so, or not at all, and says why.
    cloister("create", config)
    a.wait_for_ready("web")
    has = vectors(a, "web")
    assert has_avx(has), has
    assert "avx2" in [name for leaf in a.get("/v1/domains/web/policy")["domain"]["cpuid"] for name in leaf["names"]]
    dump.write_text(old)
    pair.migrate(status=FAILED)
    assert "CPUID: leaf 0x7.0 differs (without avx2)" in cloister.said and pair.lives(a) == "running", cloister.said
    cloister("save", "--enclaves=lose", "web", "new.saved")
    cloister("restore", "new.saved", status=WRONG)
    assert "CPUID: leaf 0x7.0 differs (without avx2)" in cloister.said, cloister.said
    dump.write_text(new)
    cloister("restore", "new.saved")
    assert vectors(a, "web") == has
    a.destroy("web")
    # The configuration's word stands above the host's.
    cloister("create", cloister.file("web", text + 'cpuid = "host,avx=0"\n'))
    a.wait_for_ready("web")
    assert not has_avx(vectors(a, "web"))
    cloister("save", "--enclaves=lose", "web", "none.saved")
    cloister("restore", "none.saved")
    pair.migrate()
    wait_until(lambda: pair.lives(b) == "running", "its arrival")
    assert not has_avx(vectors(b, "web"))
    b.destroy("web")
    a.check_settled([])
    b.check_settled([])


def refusals(machine):
    """What a configuration asks of a processor in vain is one error where it stands, before anything is granted."""
    m = machine(SKYLAKE)
    folder = m.state.parent
    (folder / "no.dump").write_text("nothing\n")
    (folder / "long.dump").write_bytes(b"")
    with open(folder / "long.dump", "r+b") as file:
        file.truncate((16 << 20) + 1)
    # More EPC than there is: what is wrong with the processor is found first.
    for key, value, says in (
        ("cpuid", '"host,sgx2=1"', "'sgx2'"),
        ("lehash", f'"{"5a" * 32}"', "no launch control"),
        ("silicon", '"skylake"', "did you mean 'skylake-client'?"),
        ("silicon", '"./none.dump"', "No such file"),
        ("silicon", '"./no.dump"', "cannot use silicon './no.dump'"),
        ("silicon", '"./long.dump"', "longer than 16 MiB"),
        ("silicon", '"."', "not a regular file"),
        ("silicon", '"Skylake-Client-IBRS"', "a model without SGX"),
        ("cpu_flags", '"sgx"', "a libvirt model as 'silicon'"),
    ):
        creation = m.creation("vain", epc=1024, **{key: value}) | {"directory": str(folder)}
        answer = m.request("POST", "/v1/domains", creation)
        error = answer.json["error"]
        assert answer.status == 400 and says in error["message"], (key, value, answer.body)
        assert (error["file"], error["line"], error["column"]) == ("vain.cfg", 6, len(key) + 4), (key, error)
    answer = m.request("POST", "/v1/domains", m.creation("vain", silicon='"./none.dump"'))
    assert "a relative path, without 'directory'" in answer.json["error"]["message"], answer.body
    assert m.vmms() == [] and json.loads((m.state / "machine.json").read_text() if (m.state / "machine.json").exists() else '{"next_id": 1}')["next_id"] == 1
    m.check_settled([])


CASES = {"silicon": silicon, "silicon-vectors": vector_features, "silicon-refusals": refusals}
