#!/usr/bin/env python3
"""All of src/ but the silicon is compiled, and each program linked, with what cmake/options.cmake calls hardening.

    check_hardening.py SOURCE BUILD     of a release build"""
import json
import pathlib
import subprocess
import sys

FLAGS = ("-fstack-protector-strong", "-D_FORTIFY_SOURCE=2", "-D_GLIBCXX_ASSERTIONS")
# Its loops are too hot; tools/ is compiled as the programs are.
WITHOUT = {"silicon"}
PROGRAMS = ("cloister", "cloisterd", "cloister-vmm", "cloister-enclave", "cloister-transfer")


def room_of(path, source, build):
    """None: not of src/. Files that are compiled as one are in a file of the build's."""
    if source in path.parents:
        return path.relative_to(source).parts[0]
    if build / "src" in path.parents and path.parent.name == "Unity":
        return path.parent.parent.name.removesuffix(".dir")
    return None


def compiled(source, build):
    seen = set()
    for command in json.loads((build / "compile_commands.json").read_text()):
        path = pathlib.Path(command["file"])
        room = room_of(path, source, build)
        if room is None:
            continue
        seen.add(room)
        missing = [flag for flag in FLAGS if flag not in command["command"].split()]
        if missing and room not in WITHOUT:
            yield f"{path}: compiled without {' '.join(missing)}"
    if not {"daemon", "vmm", "hypervisor", "tools"} <= seen:
        yield f"compile_commands.json: found the rooms {sorted(seen)} alone"


def linked(build):
    for program in PROGRAMS:
        read = subprocess.run(
            ["readelf", "--wide", "--file-header", "--program-headers", "--dynamic", build / "bin" / program],
            capture_output=True, text=True, check=True)
        for what in ("DYN (Position-Independent Executable file)", "GNU_RELRO", "BIND_NOW"):
            if what not in read.stdout:
                yield f"{program}: readelf shows no {what}"
        if any(line.split()[0] == "GNU_STACK" and "E" in line.split()[-2] for line in read.stdout.splitlines() if line.split()):
            yield f"{program}: its stack is executable"


source, build = (pathlib.Path(word).resolve() for word in sys.argv[1:3])
found = [*compiled(source, build), *linked(build)]
print("\n".join(found))
sys.exit(1 if found else 0)
