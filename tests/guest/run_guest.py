#!/usr/bin/env python3
"""Guest tests: what an unmodified Linux says of the machine it finds. Each case is one test of ctest (label `guest`);
those marked `full` run only when CLOISTER_FULL is set in the environment."""

import argparse
import contextlib
import functools
import hashlib
import http.server
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from domain import Domain, Settings
from foreign import add_page, archive, build, shared_enclave, sign

SKIPPED = 77
CASES = {}


class Failure(Exception):
    """What was expected of the guest and did not come."""


def case(name, full=False):
    def add(function):
        CASES[name] = (function, full)
        return function

    return add


def expect(condition, text):
    if not condition:
        raise Failure(text)


def expect_status(run, status):
    expect(run.status == status, f"exit status {run.status}, expected {status}")


def expect_tests(run):
    """Every check that ran inside the guest is good, there were some, and the guest powered itself off."""
    expect_status(run, 0)
    failed = run.matches(r"FAIL .*")
    expect(not failed, "\n".join(failed))
    expect(run.matches(r"TEST .*: ok"), "no check ran in the guest")
    expect(run.matches(r"== power off"), "init did not reach its end")


def epc_bytes(run):
    """The sizes of the sections in the kernel's own line, which has an inclusive end (Linux 6.1, sgx/main.c)."""
    sections = (re.fullmatch(r"0x([0-9a-f]+)-0x([0-9a-f]+)", s) for s in run.matches(r"sgx +EPC section (.*)"))
    return [int(s.group(2), 16) + 1 - int(s.group(1), 16) for s in sections if s]


def boot_with_epc(settings, mebibytes, kernel="vmlinuz"):
    """A guest of 512 MiB boots to userland, and sees as much EPC as the configuration says."""
    run = Domain(settings, epc=mebibytes, kernel=kernel).run()
    expect_status(run, 0)
    expect(run.matches(r"== userland"), "no userland")
    devices = set(run.matches(r"device +(\S+)"))
    totals = [int(n) for n in run.matches(r"node\d+ +sgx_total_bytes (\d+)")]
    if mebibytes == 0:
        expect(run.matches(r"sgx +none"), "an EPC section without epc")
        expect(not devices, f"{devices} without epc")
        expect(sum(totals) == 0, f"sgx_total_bytes {totals} without epc")
        return run
    size = mebibytes << 20
    expect(epc_bytes(run) == [size], f"EPC sections of {epc_bytes(run)} bytes, expected one of {size}")
    expect({"/dev/sgx_enclave", "/dev/sgx_provision"} <= devices, f"devices: {devices}")
    expect(totals == [size], f"sgx_total_bytes {totals}, expected {size}")
    return run


for mebibytes in (0, 1, 64, 512, 4096):
    case(f"epc-{mebibytes}")(lambda settings, size=mebibytes: boot_with_epc(settings, size))


@case("epc-sections")
def epc_sections(settings):
    """Two sections of two packages: CPUID enumerates both, SRAT gives each its NUMA node, and its share
    of the processors, which are a package there."""
    with tempfile.TemporaryDirectory() as folder:
        machine = Path(folder) / "machine.toml"
        machine.write_text("package = [{ epc = [{ size = 64 }] }, { epc = [{ size = 64 }] }]\n")
        sections = 'epc = ["size=64,package=1", "size=32,package=0"]'
        run = Domain(settings, test="enclave", extra="enclave=hello,threads:2", vcpus=3, config=[sections],
                     options=["--machine", str(machine)]).run()
    expect_tests(run)
    nodes = re.findall(r"SRAT: PXM (\d+) -> APIC 0x0*(\d+) -> Node \1", run.console.decode(errors="replace"))
    expect(nodes == [("0", "0"), ("0", "1"), ("1", "2")], f"processors in nodes: {nodes}")
    expect(run.matches(r".*smp: Brought up 2 nodes, 3 CPUs"), "not all processors")
    expect(not run.matches(r".*(WARNING: CPU|is not on the same node)"), "nodes and packages do not go together")
    expect(epc_bytes(run) == [64 << 20, 32 << 20], f"EPC sections of {epc_bytes(run)} bytes")
    totals = run.matches(r"(node\d+ +sgx_total_bytes \d+)")
    expect([t.split() for t in totals] == [["node0", "sgx_total_bytes", str(32 << 20)], ["node1", "sgx_total_bytes", str(64 << 20)]], f"{totals}")


@case("generic-kernel", full=True)
def generic_kernel(settings):
    boot_with_epc(settings, 64, kernel="vmlinuz-generic")


@case("behaviour")
def behaviour(settings):
    expect_tests(Domain(settings, test="digest,awk,archive,process", epc=64).run())


def all_processors_work(settings, vcpus, **more):
    """The kernel starts every processor, all of them run processes, and the work done in parallel is right."""
    run = Domain(settings, test="parallel", vcpus=vcpus, **more).run()
    expect_tests(run)
    expect(run.matches(rf"TEST parallel: {vcpus} processors$"), f"not {vcpus} processors")
    expect(not run.matches(r".*(TSC warp|Marking TSC unstable|soft lockup|rcu: INFO)"), "time or progress is wrong")
    return run


for count in (2, 4, 16):
    case(f"vcpus-{count}", full=count > 4)(lambda settings, vcpus=count: all_processors_work(settings, vcpus))


@case("vcpus-deterministic")
def vcpus_deterministic(settings):
    def once():
        run = all_processors_work(settings, 2, options=["--deterministic", "--stats"])
        return run.console, re.findall(r"(\d+) guest instructions", run.errors)

    first, second = once(), once()
    expect(first[1] and first[1] == second[1], f"instruction counts differ: {first[1]} and {second[1]}")
    expect(first[0] == second[0], "console bytes differ")


@case("programs")
def programs(settings):
    expect_tests(Domain(settings, test="compiled").run())


@case("vectors")
def vectors(settings):
    """A program for x86-64-v3 has the host's results in a domain with AVX, whose Linux has all that belongs to it; and an
    enclave keeps its YMM registers, though timers interrupt it and another process uses them in between."""
    flags = set(re.search(r"^flags\s*: (.*)", Path("/proc/cpuinfo").read_text(), re.M).group(1).split())
    if not {"avx2", "fma", "bmi2", "movbe"} <= flags:
        print("this host has no x86-64-v3")
        sys.exit(SKIPPED)
    with tempfile.TemporaryDirectory() as folder:
        program, ramdisk = Path(folder) / "vectors", Path(folder) / "initramfs.cpio"
        source = Path(__file__).with_name("vectors.c")
        subprocess.run(["cc", "-static", "-O3", "-march=x86-64-v3", "-o", program, source, "-lm"], check=True)
        natively = subprocess.run([program], check=True, capture_output=True, text=True).stdout.splitlines()
        script = Path(__file__).resolve().parents[2] / "guest" / "tests" / "vectors.sh"
        enclave = build(settings.cloister.with_name("cloister-enclave"), Path(folder),
                        Path(__file__).with_name("vector_enclave"), "tests/vector-enclave")
        ramdisk.write_bytes((settings.guest / "initramfs.cpio").read_bytes() +
                            archive({"tests/vector-program": program.read_bytes(), "tests/vectors": script.read_bytes(),
                                     **enclave}))
        for engine in ("compiler", "interpreter"):
            run = Domain(settings, test="vectors", ramdisk=ramdisk, epc=8, options=[f"--engine={engine}"]).run()
            expect_tests(run)
            found = run.matches(r"(VECTORS .*)")
            expect(found == natively, f"{engine}: {found}, natively {natively}")
            seen = set(run.matches(r"FLAGS (.*)")[0].split())
            # What the host lacks, a guest is not told of.
            wanted = {"avx", "avx2", "fma", "f16c", "bmi1", "bmi2", "movbe", "abm", "vaes", "vpclmulqdq", "xsavec"} & flags
            expect(wanted <= seen, f"the guest lacks {wanted - seen}")
            expect(run.matches(r"TEST vector-enclave/registers-kept: ok"), f"{engine}: the enclave was not run")


def run_enclaves(settings, names, epc=64, **more):
    run = Domain(settings, test="enclave", epc=epc, extra=f"enclave={names}", **more).run()
    expect_tests(run)
    return run


for example in ("hello", "attest", "threads", "heap", "faults"):
    case(f"enclave-{example}")(lambda settings, name=example: run_enclaves(settings, name))


for silicon in ("icelake-server", "sapphire-rapids", "gemini-lake"):
    case(f"silicon-{silicon}")(
        lambda settings, name=silicon: run_enclaves(settings, "hello", config=[f'silicon = "{name}"'])
    )


@case("silicon-skylake-client")
def silicon_skylake(settings):
    """Without launch control Linux finds the EPC, and gives no process an enclave."""
    run = Domain(settings, epc=64, config=['silicon = "skylake-client"']).run()
    expect_status(run, 0)
    expect(run.matches(r"== userland"), "no userland")
    expect(epc_bytes(run) == [64 << 20], f"EPC sections of {epc_bytes(run)} bytes")
    refused = r".*sgx: SGX disabled: SGX launch control CPU feature is not available, /dev/sgx_enclave disabled\."
    expect(run.matches(refused), "the driver does not say why it is off")
    devices = set(run.matches(r"device +(\S+)"))
    expect("/dev/sgx_enclave" not in devices, f"devices: {devices}")
    expect(not run.matches(r".*(unchecked MSR access|WARNING: CPU)"), "the kernel stumbled over its processor")


def launch_control(settings, description, line):
    """What the driver says on a machine whose launch control it cannot use; no process gets an enclave."""
    with tempfile.TemporaryDirectory() as folder:
        machine = Path(folder) / "machine.toml"
        machine.write_text(f"{description}\npackage = [{{ epc = [{{ size = 64 }}] }}]\n")
        run = Domain(settings, epc=64, options=["--machine", str(machine)]).run()
    expect_status(run, 0)
    expect(run.matches(r"== userland"), "no userland")
    expect(run.matches(line), "the driver does not say why it is off")
    devices = set(run.matches(r"device +(\S+)"))
    expect("/dev/sgx_enclave" not in devices, f"devices: {devices}")
    expect(not run.matches(r".*(unchecked MSR access|WARNING: CPU)"), "the kernel stumbled over its processor")


@case("launch-none")
def launch_none(settings):
    launch_control(settings, 'launch_control = "none"', r".*SGX launch control CPU feature is not available")


OTHER_HASH = f'launch_hash = "{"5a" * 32}"'


@case("launch-unwritable")
def launch_unwritable(settings):
    launch_control(settings, 'launch_control = "unwritable"', r".*SGX Launch Control is locked\. Disable SGX")


@case("launch-locked")
def launch_locked(settings):
    launch_control(settings, f'launch_control = "locked"\n{OTHER_HASH}', r".*SGX Launch Control is locked\. Disable SGX")


@case("launch-unlocked")
def launch_unlocked(settings):
    """Whatever firmware left in the registers, the driver writes the signer's hash there, and processes get enclaves."""
    with tempfile.TemporaryDirectory() as folder:
        machine = Path(folder) / "machine.toml"
        machine.write_text(f'launch_control = "unlocked"\n{OTHER_HASH}\npackage = [{{ epc = [{{ size = 64 }}] }}]\n')
        run = run_enclaves(settings, "hello", options=["--machine", str(machine)])
    expect(not run.matches(r".*SGX Launch Control is locked"), "the driver takes it for locked")


@case("enclave-account")
def enclave_account(settings):
    run = Domain(settings, test="account", epc=64).run()
    expect_tests(run)
    for word in ("section", "measured", "signed", "entered", "sealed", "attested", "resumed"):
        expect(run.matches(f"{word} +"), f"the account has no line '{word}'")


@case("enclave-quote")
def enclave_quote(settings):
    """A guest that asks for a quote hears at once what is missing: nothing of what Intel's libraries look for is there."""
    run = Domain(settings, test="quote", epc=64).run()
    expect_tests(run)
    expect(run.matches(r"attest: no quote can be had here: no quoting service \(/var/run/aesmd/aesm.socket: No such file"),
           "the guest does not say why")


@case("enclave-provision")
def enclave_provision(settings):
    """With sgx_provision an enclave may have the provisioning key; a quote can be had no more than without."""
    expect_tests(Domain(settings, test="quote", epc=64, extra="provision", config=["sgx_provision = 1"]).run())


@case("enclave-seal")
def enclave_seal(settings):
    """What an enclave sealed in one boot of the machine, it unseals in the next."""
    sealed = run_enclaves(settings, "seal").matches(r"SEALED ([0-9a-f]+)")
    expect(sealed, "nothing was sealed")
    run = run_enclaves(settings, f"seal:{sealed[0]}")
    expect(run.matches(r"TEST seal/unseal-of-an-earlier-boot: ok"), "the second boot did not get the blob")


@case("enclave-report")
def enclave_report(settings):
    """report.sgxs, which is not ours, reports to the enclave of `attest`. Its fourth page is for the loader to fill."""
    enclave = shared_enclave("report.sgxs")
    if enclave is None:
        print("there is no report.sgxs (set CLOISTER_SHARED)")
        sys.exit(SKIPPED)
    stream = add_page(enclave.read_bytes(), 0x3000)
    with tempfile.TemporaryDirectory() as folder:
        signature = sign(settings.cloister.with_name("cloister-enclave"), Path(folder), stream)
        ramdisk = Path(folder) / "initramfs.cpio"
        ramdisk.write_bytes((settings.guest / "initramfs.cpio").read_bytes() +
                            archive({"enclaves/report.sgxs": stream, "enclaves/report.sig": signature}))
        run = run_enclaves(settings, "report", ramdisk=ramdisk)
    expect(run.matches(r"TEST report/verified-by-the-target: ok"), "the enclave was not run")


def expect_stats(run, trace):
    """--stats counts what the trace has, line by line; the program inside entered, and was interrupted."""
    counts = {name: int(n) for n, name in re.findall(r"(\d+) ([A-Z]+)", run.errors[run.errors.rindex("SGX: "):])}
    traced = {name: sum(f"leaf={leaf} " in line for line in trace)
              for name, leaf in (("EADD", "0x1"), ("EAUG", "0xd"), ("EWB", "0xb"), ("ELDU", "0x8"))}
    expect({name: counts.get(name) for name in traced} == traced, f"--stats has {counts}, the trace {traced}")
    expect(counts["EENTER"] > 0 and counts["AEX"] > 0, f"--stats: {counts}")


def expect_paging(settings, names, **more):
    """Runs enclaves of which one is more than four times the EPC: the kernel pages it out and in, by EWB and ELDU."""
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "trace"
        options = ["--stats", "--trace", "encls", "--trace-file", str(trace)]
        run = run_enclaves(settings, names, epc=1, options=options, **more)
        lines = trace.read_text().splitlines()
    expect_stats(run, lines)
    done = {leaf: sum(f"leaf={leaf} " in line and line.endswith("rax=0x0") for line in lines) for leaf in ("0xb", "0x8")}
    print(f"{names}: {done['0xb']} EWB, {done['0x8']} ELDU")
    pages = (4 << 20) // 4096
    expect(done["0xb"] >= pages and done["0x8"] >= pages, f"EWB and ELDU that succeeded: {done}")


@case("enclave-paging")
def enclave_paging(settings):
    expect_paging(settings, "paging")


def expect_paged(settings, names, *config):
    """With a quarter of the EPC that they see, enclaves on four processors find everything; Linux sees all of it."""
    run = run_enclaves(settings, names, epc=8, vcpus=4, config=["epc_min = 2", *config])
    expect(epc_bytes(run) == [8 << 20], f"EPC sections of {epc_bytes(run)} bytes")


@case("enclave-paged")
def enclave_paged(settings):
    expect_paged(settings, "hello+threads+paging+faults", "epc_paging = 'oss'")


@case("enclave-paged-trap")
def enclave_paged_trap(settings):
    """Where the processor has nothing to help, as servers', the hypervisor runs the leaves that it must know of."""
    expect_paged(settings, "hello+threads+paging+heap+faults", "silicon = 'icelake-server'")


@case("enclave-oversubscribed")
def enclave_oversubscribed(settings):
    """A guest with 64 MiB of EPC on a machine that has 16: all examples are right, and with four processors those of many
    threads while the guest's own kernel pages, since together its enclaves are more than it sees."""
    many = "+".join(["threads:10", "heap", "faults"] + ["paging:10"] * 18)
    with tempfile.TemporaryDirectory() as folder:
        machine, trace = Path(folder) / "machine.toml", Path(folder) / "trace"
        machine.write_text("[[package]]\nepc = [{ size = 16 }]\n")
        options = ["--machine", str(machine), "--stats", "--trace", "encls", "--trace-file", str(trace)]
        run = run_enclaves(settings, f"hello,attest,seal,heap,faults,{many}", vcpus=4, memory=768, options=options,
                           config=["epc_min = 16", "epc_paging = 'oss'"])
        done = {leaf: sum(f"leaf={leaf} " in line for line in trace.read_text().splitlines()) for leaf in ("0xb", "0x8")}
    expect(epc_bytes(run) == [64 << 20], f"EPC sections of {epc_bytes(run)} bytes")
    print(f"by the guest: {done['0xb']} EWB, {done['0x8']} ELDU")
    expect(done["0xb"] > 1000 and done["0x8"] > 1000, f"the guest's kernel did not page: {done}")


@case("enclave-smp")
def enclave_smp(settings):
    """Threads of an enclave on four processors, while the kernel pages another one; a minute of it in a full run."""
    seconds = 60 if os.environ.get("CLOISTER_FULL") else 5
    expect_paging(settings, f"threads:{seconds}+paging:{seconds}", vcpus=4)


@case("enclave-deterministic")
def enclave_deterministic(settings):
    """The same on two processors that take turns: each run is the same, to the byte and the instruction."""

    def once():
        run = run_enclaves(settings, "threads+paging:0", epc=1, vcpus=2, options=["--deterministic", "--stats"])
        return run.console, re.findall(r"(\d+) guest instructions", run.errors)

    first, second = once(), once()
    expect(first[1] and first[1] == second[1], f"instruction counts differ: {first[1]} and {second[1]}")
    expect(first[0] == second[0], "console bytes differ")


@case("console")
def console(settings):
    def answer(text, process):
        if text == "TEST console: ready":
            process.stdin.write(b"typed by the host\n")
            process.stdin.flush()

    run = Domain(settings, test="console").run(answer)
    expect_status(run, 0)
    expect(run.matches(r"TEST console: read 'typed by the host'"), "the guest did not read what was typed")


@case("console-virtio")
def virtio_console(settings):
    """By the kernel's own driver: what is typed comes to hvc0 while it is bound, and to the serial port before and after."""
    def once(*options):
        def answer(text, process):
            if words := re.match(r"TEST console: (\w+) listens", text):
                process.stdin.write(b"typed for %s\n" % words[1].encode())
                process.stdin.flush()

        run = Domain(settings, test="hvc", config=["virtio_console = 1"], options=list(options)).run(answer)
        expect_status(run, 0)
        expect_tests(run)
        heard = run.matches(r"TEST console: (\w+ read 'typed for \w+')")
        expect(heard == [f"{name} read 'typed for {name}'" for name in ("ttyS0", "hvc0", "hvc0", "ttyS0")], f"heard {heard}")
        expect(run.matches(r"hvc0 prints (\d+)") == [str(n) for n in range(1, 201)], "lines of hvc0 are lost")

    once()
    once("--deterministic")


@case("deterministic")
def deterministic(settings):
    def once():
        run = Domain(settings, test="digest", epc=1, options=["--deterministic", "--stats"]).run()
        expect_tests(run)
        counts = re.findall(r"(\d+) guest instructions", run.errors)
        expect(counts, f"no instruction count in: {run.errors}")
        return run.console, counts[0]

    first, second = once(), once()
    expect(first[1] == second[1], f"instruction counts differ: {first[1]} and {second[1]}")
    expect(first[0] == second[0], "console bytes differ")


def expect_crash(run):
    """A crash ends with 3, a register dump and the last line that the guest's console had."""
    expect_status(run, 3)
    expect(re.search(r"\brip\b", run.errors, re.IGNORECASE), "no register dump")
    last = [text for _, text in run.lines if text.strip()][-1]
    expect(last.strip() in run.errors, f"the last console line is not in the report: {last!r}")


@case("triple-fault")
def triple_fault(settings):
    run = Domain(settings, test="restart", extra="reboot=triple").run()
    expect(run.matches(r"TEST restart: about to reset"), "the test did not start")
    expect_crash(run)


@case("panic")
def panic(settings):
    """A kernel that would wait for ever says by pvpanic what has become of it."""
    run = Domain(settings, test="panic").run()
    expect(run.matches(r".*Kernel panic - not syncing"), "no panic")
    expect_crash(run)
    expect("its kernel panicked" in run.errors, f"no word of the panic: {run.errors}")


@case("halt")
def halt(settings):
    """`halt` is no crash, on several processors neither."""
    run = Domain(settings, test="halt", vcpus=2).run()
    expect(run.matches(r"TEST halt: about to halt"), "the test did not start")
    expect_status(run, 0)
    expect("halted for good: interrupts are off" in run.errors, f"no word of the halt: {run.errors}")


@case("sleep")
def sleep(settings):
    """Linux suspends itself to RAM, with an enclave at work, and goes on with all its processors when it is woken."""
    def wake(text, process):
        if text != "TEST sleep: falls asleep":
            return

        def type_a_key():
            while not awake.wait(1):
                process.stdin.write(b"x")
                process.stdin.flush()

        threading.Thread(target=type_a_key, daemon=True).start()

    def look(text, process):
        if "sleep/awake" in text:
            awake.set()
        wake(text, process)

    awake = threading.Event()
    run = Domain(settings, test="sleep", epc=64, vcpus=2).run(look)
    awake.set()
    expect_tests(run)
    expect("suspended itself to RAM" in run.errors, f"it did not sleep: {run.errors}")
    expect(run.matches(r"TEST sleep/threads: ok"), "no enclaves after it woke")


def pattern():
    """What guest/tests/disk.sh writes."""
    return "".join(f"{n}\n" for n in range(1, 1_000_001)).encode()[: 4 << 20]


@case("disk")
def disk(settings):
    """The kernel's own drivers find two disks, and read, write, flush, trim and discard; they are unbound and bound again,
    and suspended. What was flushed is in the file when the run is killed, and the next one finds it."""
    def look(text, process):
        if text == "TEST disk: falls asleep":
            threading.Thread(target=type_a_key, args=[process], daemon=True).start()
        if "disk/awake" in text:
            awake.set()
        if text == "TEST disk: flushed":
            process.kill()

    def type_a_key(process):
        while not awake.wait(1):
            process.stdin.write(b"x")
            process.stdin.flush()

    awake = threading.Event()
    with tempfile.TemporaryDirectory() as folder:
        first, second = Path(folder) / "first.img", Path(folder) / "second.img"
        first.write_bytes(bytes(64 << 20))
        second.write_bytes(os.urandom(1 << 20))
        before = second.read_bytes()
        disks = [f'disk = ["format=raw,vdev=xvdb,access=ro,target={second}", "{first},raw,xvda,rw"]']
        run = Domain(settings, test="disk", extra="cloister.disk=asleep", vcpus=2, config=disks).run(look)
        awake.set()
        failed = run.matches(r"FAIL .*")
        expect(not failed, "\n".join(failed))
        expect(run.status == -signal.SIGKILL, f"exit status {run.status}: it did not come to its end")
        expect(run.matches(r"TEST disk/after-sleep: ok"), "not all checks ran")
        expect(run.matches(rf"disk vdb {hashlib.md5(before).hexdigest()}"), "another second disk than the host's")
        written = first.read_bytes()
        expect(written[32 << 20:][: 4 << 20] == pattern(), "what was flushed is not in the file")
        expect(written[40 << 20:][: 1 << 20] == bytes(1 << 20), "what was discarded is still there")
        expect(any(written[41 << 20:][: 1 << 20]), "more was discarded than the guest asked for")
        expect(second.read_bytes() == before, "a disk for reading was written")
        expect_tests(Domain(settings, test="disk", extra="cloister.disk=again", config=disks).run())


def passt_of(port):
    """The process that has this port of the host for a guest."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if words[0] == b"passt" and any(word.startswith(b"127.0.0.1/%d:" % port) for word in words):
            return int(process.name)
    return None


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Silent(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@contextlib.contextmanager
def http_server(folder):
    """On the host's loopback: its port."""
    handler = functools.partial(Silent, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


@case("net")
def net(settings):
    """The kernel's own driver finds an interface, which gets an address by DHCP; the guest fetches a file of the host's,
    where that is allowed, and serves one, also after the driver was unbound and bound again. The end of what carries its
    frames takes the link down and nothing else with it, and nothing is left of it behind the run."""
    if not os.access("/usr/bin/passt", os.X_OK):
        sys.exit(SKIPPED)
    mac = "52:54:00:0c:10:57"
    answers, running = [], []

    def look(text, process):
        running[:] = [process]
        if text == "TEST net: listens":
            answers.append(ask())
        if text == "TEST net: loses its link":
            os.kill(passt_of(port), signal.SIGKILL)

    def ask():
        with socket.create_connection(("127.0.0.1", port), timeout=60) as guest:
            guest.settimeout(60)
            guest.sendall(b"the host\n")  # before that Debian 12's passt does not finish the guest's side
            return guest.makefile("rb").read()

    with tempfile.TemporaryDirectory() as folder, http_server(folder) as server:
        content = os.urandom(1 << 20)
        (Path(folder) / "file").write_bytes(content)
        for host in ("allow", "deny"):
            port = free_port()
            vif = f'vif = ["type=user,mac={mac},hostfwd=tcp:127.0.0.1:{port}-:7000,host={host}"]'
            words = f"cloister.mac={mac} cloister.port={server} cloister.host={host} cloister.sum={hashlib.md5(content).hexdigest()}"
            answers.clear()
            try:
                run = Domain(settings, test="net", extra=words, vcpus=2, config=[vif]).run(look)
            except TimeoutError:
                # Now and then Debian 12's passt peeks at a connection's end for ever, and hands nothing on any more.
                os.kill(passt_of(port), signal.SIGKILL)
                running[0].kill()
                running[0].wait()
                answers.clear()
                run = Domain(settings, test="net", extra=words, vcpus=2, config=[vif]).run(look)
            if "External interface not usable" in run.errors:
                sys.exit(SKIPPED)
            expect_tests(run)
            expect(run.matches(r"TEST net/no-carrier: ok"), "not all checks ran")
            expect(answers == [b"heard the host\n"] * 2, f"heard {answers} from the guest")
            expect("the link of its network interface 0 is down" in run.errors, run.errors)
            expect(passt_of(port) is None, "passt is left")


@case("rng")
def rng(settings):
    """The kernel's own driver finds a source of random bytes, which are others in each run, and the same where runs
    repeat."""
    def once(*options):
        run = Domain(settings, test="rng", config=["rng = 1"], options=list(options)).run()
        expect_tests(run)
        sums = run.matches(r"random ([0-9a-f]{32})")
        expect(len(sums) == 2 and sums[0] != sums[1], f"sums of random bytes: {sums}")
        return sums

    expect(once() != once(), "the same bytes in two runs")
    expect(once("--deterministic") == once("--deterministic"), "other bytes in a run that is repeated")


def echo(connection):
    """Sends back what comes, and ends when that does."""
    with connection:
        while some := connection.recv(1 << 16):
            connection.sendall(some)


def serve_echo(path):
    """At a Unix socket."""
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(path))
    listening.listen()

    def serve():
        while True:
            threading.Thread(target=echo, args=[listening.accept()[0]], daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()


def call_guest(path, port, content):
    """What a program of the guest's answers; it calls by the socket at the path."""
    with socket.socket(socket.AF_UNIX) as guest:
        guest.settimeout(600)
        guest.connect(str(path))
        guest.sendall(b"CONNECT %d\n" % port)
        stream = guest.makefile("rb")
        expect(re.fullmatch(rb"OK \d+\n", stream.readline()), "no answer to a call")

        def say():
            guest.sendall(content)
            guest.shutdown(socket.SHUT_WR)

        speaker = threading.Thread(target=say, daemon=True)
        speaker.start()
        heard = stream.read()
        speaker.join()
        return heard


@case("vsock")
def vsock(settings):
    """The kernel's own driver finds sockets to the host, and programs on both sides call each other: several at once,
    10 MiB each way. A call to nobody is reset. The driver is unbound, which ends all, and bound again."""
    content = os.urandom(10 << 20)
    contents = [content, content[: 1 << 20], b""]
    callers = []

    def look(text, process):
        if text == "TEST vsock: listens":
            for one in contents:
                callers.append(threading.Thread(target=lambda one=one: answers.append(call_guest(path, 7000, one) == one)))
                callers[-1].start()
        if text == "TEST vsock: holds":
            held.accept()[0].close()

    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as held:
        path, answers = Path(folder) / "guest.vsock", []
        serve_echo(f"{path}_5000")
        held.bind(f"{path}_5001")
        held.listen()
        run = Domain(settings, test="vsock", extra="cloister.cid=42 cloister.bytes=10485760", vcpus=2,
                     config=[f'vsock = "cid=42,path={path}"']).run(look)
        for caller in callers:
            caller.join()
        expect_tests(run)
        expect(answers == [True] * 6, f"answers of the guest's: {answers}")
        expect(run.matches(r"held until (\d+)") == ["0"], "no end of what was held")
        expect(run.matches(r"TEST vsock/called-afterwards: ok"), "not all checks ran")
        expect(not path.exists(), "its socket is left")


@case("clock")
def clock(settings):
    """The kernel finds the clock chip without waiting for it, and has the host's date; hwclock reads and sets it."""
    before = time.time()
    run = Domain(settings, test="clock").run()
    after = time.time()
    expect_tests(run)
    expect(run.matches(r"clock +registered as rtc0"), "rtc_cmos did not register")
    found = run.matches(r"clock +setting system clock to .*\((\d+)\)")
    expect(found and before - 2 <= int(found[0]) <= after, f"the guest's date is {found}, the host's {before} to {after}")
    expect(run.matches(r"hwclock +\w"), "hwclock shows nothing")

    # In virtual time, which is the same on a busy host: no gap of a second in the kernel's boot.
    run = Domain(settings, options=["--deterministic"]).run()
    expect_status(run, 0)
    found = run.matches(r".*rtc_cmos .*: setting system clock to (\S+)")
    expect(found and found[0].startswith("2025-01-01T00:00:"), f"the date is {found}")
    stamps = [float(stamp) for stamp in run.matches(r"\[ *(\d+\.\d+)\] ")]
    expect(len(stamps) > 100, "the kernel's lines have no time")
    gap, at = max((after - before, before) for before, after in zip(stamps, stamps[1:]))
    print(f"the longest gap between two lines is {gap:.3f} s, after {at:.3f} s")
    expect(gap < 0.9, f"the kernel waits {gap} s after {at} s")




@case("reboot")
def reboot(settings):
    """A reset ends the domain or starts it anew, as the configuration says."""
    run = Domain(settings, test="restart", config=['on_reboot = "destroy"']).run()
    expect_status(run, 0)
    expect("reset itself" in run.errors, f"no word of the reset: {run.errors}")
    boots = []

    def on_line(text, process):
        if text == "== userland":
            boots.append(text)
            if len(boots) == 2:
                process.send_signal(signal.SIGINT)

    run = Domain(settings, test="restart", extra="reboot=acpi", config=['on_reboot = "restart"']).run(on_line)
    expect(len(boots) == 2, f"{len(boots)} boots, expected a second one after the reset")
    expect_status(run, 128 + signal.SIGINT)


@case("timeout")
def timeout(settings):
    expect_status(Domain(settings, test="idle", options=["--timeout", "3"]).run(), 124)


GDB = """\
set confirm off
set pagination off
set architecture i386:x86-64
target remote {socket}
info registers rip rsp eflags
hbreak *0x{symbol}
continue
printf "AT %lx\\n", $rip
x/2i $rip
stepi
printf "STEPPED %lx\\n", $rip
printf "STACK %lx\\n", *(unsigned long *)$rsp
delete
break *0x{symbol}
continue
printf "AGAIN %lx\\n", $rip
delete
detach
quit
"""


@case("gdb")
def gdb(settings):
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        socket = Path(folder) / "gdb"

        def attach(symbol, process):
            script = Path(folder) / "script"
            script.write_text(GDB.format(socket=socket, symbol=symbol))
            try:
                done = subprocess.run(
                    ["gdb", "-nx", "-batch", "-x", str(script)], capture_output=True, text=True, timeout=120
                )
                found["output"] = done.stdout + done.stderr
            except subprocess.TimeoutExpired as late:
                found["output"] = f"gdb did not end: {late.stdout}"
            finally:
                process.send_signal(signal.SIGINT)

        def on_line(text, process):
            if text.startswith("SYMBOL hrtimer_interrupt "):
                found["symbol"] = text.split()[2]
            if text == "TEST idle: waiting":
                threading.Thread(target=attach, args=(found["symbol"], process)).start()

        run = Domain(settings, test="idle", options=["--gdb", str(socket)]).run(on_line)
    output = found.get("output")
    expect(output, f"the guest did not start; {run.errors}")
    symbol = found["symbol"].lstrip("0")
    expect(f"AT {symbol}" in output and f"AGAIN {symbol}" in output, f"no stop at {symbol}:\n{output}")
    stepped = re.search(r"STEPPED (\w+)", output)
    expect(stepped and stepped.group(1) != symbol, f"no step:\n{output}")
    expect(re.search(r"STACK \w+", output), f"no memory:\n{output}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cloister", type=Path, required=True, help="the program under test")
    parser.add_argument("--guest", type=Path, required=True, help="the folder that scripts/guest-image made")
    parser.add_argument("--timeout", type=int, default=1200, help="seconds that one boot may take")
    parser.add_argument("case", choices=sorted(CASES))
    arguments = parser.parse_args()
    function, full = CASES[arguments.case]
    if full and not os.environ.get("CLOISTER_FULL"):
        print("skipped: runs with CLOISTER_FULL=1 (scripts/test --full)")
        return SKIPPED
    settings = Settings(arguments.cloister, arguments.guest, arguments.timeout)
    # The tests' platform has a secret of its own, not the user's.
    os.environ["CLOISTER_STATE"] = str(arguments.guest / "state")
    try:
        function(settings)
    except Failure as failure:
        for run in settings.runs[-1:]:
            console = "\n".join(text for _, text in run.lines[-60:])
            print(f"--- end of the console\n{console}\n--- messages, exit status {run.status}\n{run.errors}---")
        print(f"{arguments.case}: {failure}")
        return 1
    print(f"{arguments.case}: ok")
    return 0


if __name__ == "__main__":
    sys.exit(main())
