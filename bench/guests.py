"""What the benchmarks that boot guests share: initramfs images with something of their own, QEMU's TCG beside us on the same
kernel, and processor time."""

import ctypes
import mmap
import os
import struct
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "guest"))


def unpack_kernel(bzimage):
    """The ELF in a bzImage (Linux, Documentation/x86/boot.rst), for QEMU, which takes PVH kernels only unpacked. Debian's
    payload is LZ4 in the legacy frame: a magic number, then blocks of at most 8 MiB, each after its packed size."""
    setup_sectors = bzimage[0x1F1]
    offset, length = struct.unpack_from("<II", bzimage, 0x248)
    start = (setup_sectors + 1) * 512 + offset
    payload = bzimage[start : start + length - 4]  # the last four bytes are the unpacked size
    if payload[:4] != b"\x02\x21\x4c\x18":
        sys.exit("error: the kernel is not packed with LZ4; give QEMU's one with --qemu-kernel")
    lz4 = ctypes.CDLL("liblz4.so.1")
    block = ctypes.create_string_buffer(8 << 20)
    unpacked, at = [], 4
    while at < len(payload):
        (size,) = struct.unpack_from("<I", payload, at)
        count = lz4.LZ4_decompress_safe(payload[at + 4 : at + 4 + size], block, size, len(block))
        if count <= 0:
            sys.exit("error: the kernel's payload is damaged")
        unpacked.append(block.raw[:count])
        at += 4 + size
    return b"".join(unpacked)


def tsc_khz():
    """The frequency of the host's time stamp counter, which is also that of TCG's guest. The guest is told it as
    cloister's is (CPUID 15h): on a busy host a kernel cannot measure it against QEMU's PIT, and would hang."""
    page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(bytes.fromhex("0f31 48c1e220 4809d0 c3"))  # rdtsc; shl $32, %rdx; or %rdx, %rax; ret
    read = ctypes.CFUNCTYPE(ctypes.c_uint64)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
    ticks, start = read(), time.monotonic_ns()
    time.sleep(0.3)
    return (read() - ticks) * 1_000_000 // (time.monotonic_ns() - start)


def tcg_command(kernel, ramdisk, cpu, words):
    """QEMU's TCG with one processor and 512 MiB, as Domain() has; `words`: of the kernel's command line."""
    command = "qemu-system-x86_64 -M microvm -accel tcg -m 512 -smp 1 -nodefaults -no-user-config -display none".split()
    command += ["-serial", "stdio", "-no-reboot", "-cpu", cpu, "-kernel", str(kernel), "-initrd", str(ramdisk)]
    return command + ["-append", f"console=ttyS0 tsc_early_khz={tsc_khz()} {words}"]


def qemu_version():
    text = subprocess.run(["qemu-system-x86_64", "--version"], capture_output=True, text=True).stdout
    return text.splitlines()[0]


def add_to_initramfs(initramfs, overlay, to):
    """The initramfs with the overlay's files. The kernel unpacks archives that follow each other into one tree."""
    names = b"\n".join(str(p.relative_to(overlay)).encode() for p in sorted(overlay.rglob("*")))
    command = ["cpio", "--quiet", "-o", "-H", "newc", "-R", "0:0"]
    archive = subprocess.run(command, input=names, cwd=overlay, capture_output=True, check=True).stdout
    to.write_bytes(initramfs.read_bytes() + archive)


def processor_time(pid):
    """Nanoseconds that all threads of a process have run (Linux, Documentation/scheduler/sched-stats.rst), and all
    processes that it has started and waited for, which are counted in ticks (proc(5): cutime, cstime)."""
    own = sum(int(path.read_text().split()[0]) for path in Path(f"/proc/{pid}/task").glob("*/schedstat"))
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return own + sum(map(int, fields[13:15])) * (1_000_000_000 // os.sysconf("SC_CLK_TCK"))
