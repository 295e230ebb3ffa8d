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
