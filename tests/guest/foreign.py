"""Enclaves that others made, for a guest: signed with a key made here, and brought in a second archive of its initramfs
(Linux unpacks one after the other)."""

import os
import struct
import subprocess
from pathlib import Path

PAGE, CHUNK, REGULAR_READ_WRITE = 4096, 256, 0x203


def shared_enclave(name):
    """$CLOISTER_SHARED, or the directory "shared" beside the source tree; None if the file is absent."""
    beside = Path(__file__).resolve().parents[3] / "shared"
    path = Path(os.environ.get("CLOISTER_SHARED", beside)) / "data" / "enclaves" / name
    return path if path.exists() else None


def add_page(stream, offset):
    """One more page in an SGXS stream: readable, writable, zero and not measured."""
    stream += struct.pack("<8sQQ40x", b"EADD", offset, REGULAR_READ_WRITE)
    for chunk in range(offset, offset + PAGE, CHUNK):
        stream += struct.pack("<8sQ48x", b"UNMEASRD", chunk) + bytes(CHUNK)
    return stream


def sign(tool, folder, stream):
    """The SIGSTRUCT of a stream, by `cloister-enclave sign`, for a debug enclave."""
    enclave, signature = folder / "enclave.sgxs", folder / "enclave.sig"
    enclave.write_bytes(stream)
    subprocess.run([tool, "sign", "--set", "debug = true", "--key", folder / "key.pem", "--generate", enclave, signature],
                   check=True)
    return signature.read_bytes()


def build(tool, folder, source, name):
    """An enclave of our runtime and a program of our loader, of the sources in a folder: three files for a guest, by their
    names there. As scripts/guest-image makes the examples."""
    root = Path(__file__).resolve().parents[2]
    parts = root / "guest/enclave"
    both = ["cc", "-std=gnu11", "-Wall", "-Wextra", "-Werror", f"-I{parts}"]
    inside = ["-O2", "-ffreestanding", "-fpie", "-fvisibility=hidden", "-fno-stack-protector", "-fcf-protection=none",
              "-fno-asynchronous-unwind-tables", "-fno-tree-loop-distribute-patterns", "-maes", "-nostdlib", "-static-pie",
              f"-Wl,--build-id=none,-z,noexecstack,-z,max-page-size=4096,-T,{parts}/runtime/enclave.ld",
              f"-I{parts}/runtime", parts / "runtime/entry.S", *sorted((parts / "runtime").glob("*.c"))]
    outside = ["-O1", "-fno-pie", "-no-pie", "-static", "-pthread", f"-I{parts}/loader", f"-I{root}/guest/tests/programs",
               *sorted((parts / "loader").glob("*.[Sc]"))]
    program, host, stream, signature = (folder / word for word in ("inside", "outside", "sgxs", "sig"))
    subprocess.run([*both, *inside, source / "enclave.c", "-o", program], check=True)
    subprocess.run([*both, *outside, source / "host.c", "-o", host], check=True)
    subprocess.run([tool, "build", "--settings", source / "settings", program, stream], check=True)
    subprocess.run([tool, "sign", "--settings", source / "settings", "--key", folder / "key.pem", "--generate", stream,
                    signature], check=True)
    return {name: host.read_bytes(), f"{name}.sgxs": stream.read_bytes(), f"{name}.sig": signature.read_bytes()}


def archive(files):
    """A cpio archive in the new ASCII format (Linux, Documentation/driver-api/early-userspace/buffer-format.rst)."""
    text = b""
    for number, (name, content) in enumerate([*files.items(), ("TRAILER!!!", b"")], 1):
        mode = 0o100755 if content else 0
        fields = [number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0]
        text += b"070701" + b"".join(b"%08x" % value for value in fields) + name.encode() + b"\0"
        text += bytes(-len(text) % 4) + content
        text += bytes(-len(text) % 4)
    return text
