"""One domain on the host's side: writes its configuration, runs `cloister run`, and keeps what came out of it."""

import os
import re
import selectors
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Run:
    status: int
    console: bytes
    lines: list  # of (seconds since the start, text)
    errors: str

    def matches(self, pattern):
        """The groups (or the whole match) of every console line that the pattern matches from its start."""
        found = (re.match(pattern, text) for _, text in self.lines)
        return [m.group(1) if m.groups() else m.group(0) for m in found if m]

    def seconds_at(self, prefix):
        """When the first line that starts so came, in seconds since the start; None if none did."""
        return next((at for at, text in self.lines if text.startswith(prefix)), None)


@dataclass
class Settings:
    cloister: Path
    guest: Path  # the folder of the kernels and the initramfs
    timeout: int = 1200  # of one run, in seconds: for one that hangs, on any host
    runs: list = field(default_factory=list)  # what was run so far, for the report of a failure


@dataclass
class Domain:
    settings: Settings
    test: str = ""  # what the guest runs: guest/tests/NAME.sh, several with commas
    epc: int = 0
    memory: int = 512
    vcpus: int = 1
    kernel: str = "vmlinuz"
    ramdisk: Path = None  # instead of the folder's initramfs
    extra: str = ""
    options: list = field(default_factory=list)
    config: list = field(default_factory=list)  # further lines

    def text(self):
        words = ["console=ttyS0", f"cloister.test={self.test}" if self.test else "", self.extra]
        lines = [
            'name = "guest-test"',
            'type = "pvh"',
            f"memory = {self.memory}",
            f"vcpus = {self.vcpus}",
            f'kernel = "{self.settings.guest / self.kernel}"',
            f'ramdisk = "{self.ramdisk or self.settings.guest / "initramfs.cpio"}"',
            f'cmdline = "{" ".join(filter(None, words))}"',
        ]
        if self.epc:
            lines.append(f"epc = {self.epc}")
        return "\n".join(lines + self.config) + "\n"

    def run(self, on_line=None):
        """Runs to the end. `on_line(text, process)` sees each console line as it comes."""
        with tempfile.TemporaryDirectory() as folder:
            config = Path(folder) / "guest.cfg"
            config.write_text(self.text())
            options = list(self.options)
            if "--timeout" not in options:
                options += ["--timeout", str(self.settings.timeout)]
            run = collect([str(self.settings.cloister), "run", *options, str(config)], on_line)
            self.settings.runs.append(run)
            return run


def collect(command, on_line=None, pass_fds=()):
    """Runs a command, with the time of each line of its stdout. pass_fds: as of subprocess."""
    start = time.monotonic()
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, pass_fds=pass_fds)
        console, rest, lines = b"", b"", []
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while True:
                selector.select()
                chunk = os.read(process.stdout.fileno(), 65536)
                if not chunk:
                    break
                console += chunk
                *whole, rest = (rest + chunk).split(b"\n")
                for line in whole:
                    text = line.decode(errors="replace").rstrip("\r").lstrip("\r")
                    lines.append((time.monotonic() - start, text))
                    if on_line:
                        on_line(text, process)
        if rest:
            lines.append((time.monotonic() - start, rest.decode(errors="replace")))
        status = process.wait()
        errors.seek(0)
        return Run(status, console, lines, errors.read().decode(errors="replace"))
