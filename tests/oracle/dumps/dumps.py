#!/usr/bin/python3
"""`cloister cpu probe` against CPUID dumps that others published, below a folder that is given: each is read twice, by
cloister and by the few lines here, and then once more as what Debian's cpuid(1) makes of it in words.

    raw    processor, SGX's flags, XFRM, sizes of enclaves and EPC are those of the dump's first processor
    words  what `cpuid -f` prints of the same leaves tells the same, but for what it has no words for

InstLatX64's are meant (https://github.com/InstLatx64/InstLatx64, all CPUID*.txt). Nothing of them is kept.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

SKIPPED = 77
# Flag: leaf 7 or 0x12, sub-leaf, register (0 EAX to 3 EDX), bit (SDM vol. 2A, CPUID, table 3-8; vol. 3D, 36.7.2).
FLAGS = {"sgx": (7, 0, 1, 2), "sgxlc": (7, 0, 2, 30), "sgx-keys": (7, 0, 3, 1), "sgx1": (0x12, 0, 0, 0),
         "sgx2": (0x12, 0, 0, 1), "sgx-enclv": (0x12, 0, 0, 5), "sgx-oss": (0x12, 0, 0, 6),
         "sgx-everifyreport2": (0x12, 0, 0, 7), "sgx-eupdatesvn": (0x12, 0, 0, 10), "sgx-edeccssa": (0x12, 0, 0, 11),
         "sgx-exinfo": (0x12, 0, 1, 0), "sgx-debug": (0x12, 1, 0, 1), "sgx-mode64": (0x12, 1, 0, 2),
         "sgx-provisionkey": (0x12, 1, 0, 4), "sgx-tokenkey": (0x12, 1, 0, 5), "sgx-cet": (0x12, 1, 0, 6),
         "sgx-kss": (0x12, 1, 0, 7), "sgx-aex-notify": (0x12, 1, 0, 10)}
LISTED = {4, 7, 0xb, 0xd, 0xf, 0x10, 0x12, 0x14, 0x17, 0x18, 0x1d, 0x1f, 0x8000001d, 0x80000020, 0x80000026}
LINE = re.compile(r"^[Cc][Pp][Uu][Ii][Dd]\s+([0-9A-Fa-f]{8})\s*:?\s*" + r"[- ]".join(["([0-9A-Fa-f]{8})"] * 4) +
                  r"(?:\s*\[SL ([0-9A-Fa-f]+)\])?")


def first_processor(text):
    """{(leaf, sub-leaf): [eax, ebx, ecx, edx]}"""
    leaves = {}
    for line in text.splitlines():
        match = LINE.match(line.strip())
        if not match:
            continue
        leaf, *regs = (int(word, 16) for word in match.groups()[:5])
        sub = int(match.group(6), 16) if match.group(6) else 0
        if leaf == 0 and (0, 0) in leaves:
            break
        if match.group(6) is None and leaf in LISTED:
            sub = 1 + max((s for at, s in leaves if at == leaf), default=-1)
        leaves.setdefault((leaf, sub), regs)
    return leaves


def expected(leaves):
    """What probe is to say of them."""
    last = leaves[0, 0][0] if (0, 0) in leaves else None

    def known(leaf, sub):
        return leaves.get((leaf, sub)) or ([0] * 4 if last is not None and leaf > last else None)

    def bit(name):
        leaf, sub, reg, position = FLAGS[name]
        regs = known(leaf, sub)
        return None if regs is None else regs[reg] >> position & 1

    said = {name: bit(name) for name in FLAGS}
    for name in FLAGS:
        if FLAGS[name][0] == 0x12 and (said["sgx"] == 0 or said["sgx1"] == 0):
            said[name] = 0
    brand = b"".join(leaves[at, 0][r].to_bytes(4, "little") for at in (0x80000002, 0x80000003, 0x80000004) if (at, 0) in leaves
                     for r in range(4)) if (0x80000002, 0) in leaves else b""
    return said, brand.split(b"\0")[0].strip().decode("ascii", "replace")


def sections(leaves):
    found = []
    for sub in range(2, 64):
        regs = leaves.get((0x12, sub))
        if regs is None or regs[0] & 0xf == 0:
            break
        size = (regs[3] & 0xfffff) << 32 | regs[2] & 0xfffff000
        if regs[0] & 0xf == 1 and size:
            found.append(((regs[1] & 0xfffff) << 32 | regs[0] & 0xfffff000, size, regs[2] & 0xf))
    return found


def raw_text(leaves):
    lines = [f"   0x{leaf:08x} 0x{sub:02x}: eax=0x{r[0]:08x} ebx=0x{r[1]:08x} ecx=0x{r[2]:08x} edx=0x{r[3]:08x}"
             for (leaf, sub), r in sorted(leaves.items())]
    return "CPU 0:\n" + "\n".join(lines) + "\n"


class Runner:
    def __init__(self, cloister):
        self.cloister = cloister

    def probe(self, path):
        ran = subprocess.run([self.cloister, "cpu", "probe", "--json", str(path)], capture_output=True, text=True, timeout=60, check=False)
        return json.loads(ran.stdout) if ran.stdout.startswith("{") else ran.stderr.strip()

    def judge(self, path):
        """What is wrong with the dump's reading, and with its words'."""
        leaves = first_processor(path.read_bytes().decode("latin-1"))
        report = self.probe(path)
        if not isinstance(report, dict):
            return ([] if not leaves else [f"refused: {report}"]), []
        raw = self.compare(report, leaves)
        if shutil.which("cpuid") is None or (0, 0) not in leaves:
            return raw, None
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "raw").write_text(raw_text(leaves))
            words = subprocess.run(["cpuid", "-1", "-f", f"{folder}/raw"], capture_output=True, text=True, timeout=60, check=False).stdout
            (Path(folder) / "words").write_text(words)
            told = self.probe(Path(folder) / "words")
        if not isinstance(told, dict):
            return raw, [f"words refused: {told}"]
        return raw, self.compare(told, leaves, words=True)

    @staticmethod
    def compare(report, leaves, words=False):
        said, brand = expected(leaves)
        wrong = []
        for name, bit in said.items():
            found = 1 if name in report["has"] else 0 if name in report["lacks"] else None
            # What cpuid has no line for is unknown in words.
            if found != bit and not (words and found is None):
                wrong.append(f"{name} is {found}, expected {bit}")
        if report["processors"] == 1 or words:
            if (report["processor"] or "") != brand and brand.isprintable():
                wrong.append(f"processor {report['processor']!r}, expected {brand!r}")
        if said["sgx1"] == 1:
            attributes = leaves.get((0x12, 1))
            if attributes is not None and report["xfrm"] != hex(attributes[3] << 32 | attributes[2]):
                wrong.append(f"XFRM {report['xfrm']}")
            size = leaves[0x12, 0][3] >> 8 & 0xff
            if report["log2_largest_enclave_64"] != size:
                wrong.append(f"size {report['log2_largest_enclave_64']}, expected {size}")
            found = [(int(s["base"], 16), s["bytes"], s["property"]) for s in report["epc"] or []]
            if found != sections(leaves):
                wrong.append(f"EPC {found}, expected {sections(leaves)}")
        return wrong


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--cloister", required=True)
    parser.add_argument("--dumps", default=os.environ.get("CLOISTER_DUMPS"), help="a folder; else CLOISTER_DUMPS")
    arguments = parser.parse_args()
    if not arguments.dumps:
        print("skipped: no folder of dumps is given (CLOISTER_DUMPS)")
        return SKIPPED
    paths = sorted(p for p in Path(arguments.dumps).rglob("*") if re.search(r"cpuid[^/]*\.txt$", p.name, re.I) and p.is_file())
    runner = Runner(arguments.cloister)
    with ThreadPoolExecutor(2) as pool:
        answers = list(zip(paths, pool.map(runner.judge, paths)))
    bad = 0
    for path, (raw, words) in answers:
        for line in raw:
            print(f"FAILED: {path.name}: {line}")
        for line in words or []:
            print(f"FAILED: {path.name}, in words: {line}")
        bad += bool(raw) or bool(words)
    in_words = [words for _, (_, words) in answers if words is not None]
    print(f"{sum(not raw for _, (raw, _) in answers)} of {len(answers)} dumps are read right, and "
          f"{sum(not words for words in in_words)} of {len(in_words)} as cpuid's words")
    return 1 if bad or not answers else 0


sys.exit(main())
