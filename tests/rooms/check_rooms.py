#!/usr/bin/env python3
"""Holds the includes and link lines of src/ against the rooms that src/CMakeLists.txt declares.

    check_rooms.py --source FOLDER [--tests FOLDER] [--build FOLDER] [--sizes]

- A file includes only what its room declares; a header only what is declared PUBLIC.
- What is declared is used, stands above its user in the file, and there is no circle of rooms.
- Within a room no files include each other in a circle, a header and its .cpp file being one, unless CIRCLES says why.
- A room with layers (cloister_layer) has them in an order: a file includes only what its layer declares, which is used and
  stands above it, and every folder is a layer.
- Of the silicon others see the door alone (SEEN_OF).
- Locks are those that the compiler checks (host/mutex.hpp); the standard library's are there alone, and where it is
  spdlog that locks.
- The door's own tests are written against the door alone (DOOR_TESTS), with --tests.
- A program links the rooms of PROGRAMS and no others (with --build, by build.ninja).
--sizes prints the rooms with their files, lines and arrows."""
import argparse
import pathlib
import re
import sys

# Rooms of which others may include only these headers: the others' way in is vmx/.
SEEN_OF = {"silicon": {"silicon/backend.hpp"}}

# The tests that every implementation of vmx/ must pass: where they are, what they may include, and the one file that
# names implementations, with what it includes of them.
DOOR_TESTS = "unit/vmx"
DOOR_TESTS_SEE = {"arch", "vmx"}
DOOR_TESTS_NAME = {"implementations.cpp": {"silicon/backend.hpp", "silicon/engine/compiler_options.hpp"}}

# What each program may link: a VMM has no HTTP, no registry and no formats of other tools in it.
PROGRAMS = {
    "cloister": "arch text verbs host boot policy vmx silicon platform stream hypervisor config machine plan run http client interop",
    "cloisterd": "arch text verbs host boot policy vmx silicon platform stream hypervisor config machine plan protocol http daemon",
    "cloister-vmm": "arch text verbs host policy vmx silicon platform stream hypervisor config machine plan protocol vmm",
    "cloister-enclave": "arch host text enclave",
    "cloister-transfer": "arch text verbs host policy vmx platform stream hypervisor config machine http client transfer",
}

# Files of a room that may be in a circle, and why. A circle is known by any of its files.
CIRCLES = {
    "hypervisor/machine": "a processor sends interrupts to the machine's others, and the machine has the processors",
}

INCLUDE = re.compile(r'^#include "([^"]+)"', re.M)
LOCK = re.compile(r"(?<!base_sink<)std::(?:\w*mutex|condition_variable\w*|lock_guard|(?:unique|scoped|shared)_lock)\b")
ROOM = re.compile(r"^cloister_room\(\s*([^)]*)\)", re.M)
LAYER = re.compile(r"^cloister_layer\(\s*([^)]*)\)", re.M)

# The layer of files that lie in their room's own folder.
DOOR = "door"


class Tree:
    def __init__(self, source):
        self.source = source
        self.text = (source / "CMakeLists.txt").read_text()
        folders = {p.name for p in source.iterdir() if p.is_dir()}
        self.public, self.private = {}, {}
        for match in ROOM.finditer(self.text):
            name, *words = match.group(1).split()
            part = self.public
            self.public[name], self.private[name] = [], []
            for word in words:
                if word in ("PUBLIC", "PRIVATE"):
                    part = self.public if word == "PUBLIC" else self.private
                elif word in folders:
                    part[name].append(word)
        self.layers = {}  # by room: the layers, lowest first, each with what it may use
        for match in LAYER.finditer(self.text):
            room, layer, *uses = match.group(1).split()
            self.layers.setdefault(room, {})[layer] = uses
        self.files = sorted(p for p in source.rglob("*") if p.suffix in (".hpp", ".cpp"))
        self.includes = {p: INCLUDE.findall(p.read_text()) for p in self.files}

    def room(self, path):
        return path.relative_to(self.source).parts[0]

    def layer(self, file):
        """Of a file by its path from src/, as an include names it."""
        return "/".join(pathlib.PurePath(file).parts[1:-1]) or DOOR

    def uses(self, room):
        return self.public[room] + self.private[room]


def check_folders(tree):
    for folder in sorted(p.name for p in tree.source.iterdir() if p.is_dir()):
        if folder != "tools" and folder not in tree.public:
            yield f"{folder}/: no cloister_room() declares it"


def check_includes(tree):
    used = {room: set() for room in tree.public}
    for path, includes in tree.includes.items():
        room, where = tree.room(path), path.relative_to(tree.source)
        for include in includes:
            target = include.split("/")[0]
            if "/" not in include:
                continue  # made by the build
            if target in SEEN_OF and room != target and include not in SEEN_OF[target]:
                yield f"{where}: includes {include}; of {target} others see {', '.join(sorted(SEEN_OF[target]))}"
            if room == "tools" or target == room:
                continue
            if room not in used:
                continue
            used[room].add(target)
            if target not in tree.uses(room):
                yield f"{where}: includes {include}, and {room} does not declare {target}"
            elif path.suffix == ".hpp" and target not in tree.public[room]:
                yield f"{where}: a header includes {include}, and {room} declares {target} PRIVATE"
    for room, targets in used.items():
        for target in tree.uses(room):
            if target not in targets:
                yield f"CMakeLists.txt: {room} declares {target} and never includes it"


def check_order(tree):
    above = []
    for room in tree.public:
        for target in tree.uses(room):
            if target not in above:
                yield f"CMakeLists.txt: {room} declares {target}, which is not above it: the rooms go up, or in a circle"
        above.append(room)


def check_layers(tree):
    for room, layers in tree.layers.items():
        above = []
        for layer, uses in layers.items():
            for target in uses:
                if target not in above:
                    yield f"CMakeLists.txt: layer {layer} of {room} declares {target}, which is not above it"
            above.append(layer)
        used = {layer: set() for layer in layers}
        for path, includes in tree.includes.items():
            where = path.relative_to(tree.source)
            if tree.room(path) != room:
                continue
            layer = tree.layer(where)
            if layer not in layers:
                yield f"{where}: no cloister_layer() declares {layer}"
                continue
            for include in includes:
                target = tree.layer(include)
                if include.split("/")[0] != room or target == layer:
                    continue
                used[layer].add(target)
                if target not in layers[layer]:
                    yield f"{where}: includes {include}, and layer {layer} does not declare {target}"
        for layer, targets in used.items():
            for target in layers[layer]:
                if target not in targets:
                    yield f"CMakeLists.txt: layer {layer} of {room} declares {target} and never includes it"


def circles(graph):
    """Tarjan: the strongly connected components of more than one node."""
    index, low, stack, on, found = {}, {}, [], set(), []

    def visit(node):
        index[node] = low[node] = len(index)
        stack.append(node)
        on.add(node)
        for other in sorted(graph.get(node, ())):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in on:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            component = []
            while True:
                other = stack.pop()
                on.discard(other)
                component.append(other)
                if other == node:
                    break
            if len(component) > 1:
                found.append(sorted(component))

    sys.setrecursionlimit(10000)
    for node in sorted(graph):
        if node not in index:
            visit(node)
    return found


def check_circles(tree):
    graph = {}
    for path, includes in tree.includes.items():
        room = tree.room(path)
        unit = str(path.relative_to(tree.source).with_suffix(""))
        for include in includes:
            other = str(pathlib.PurePath(include).with_suffix(""))
            if include.split("/")[0] == room and other != unit:
                graph.setdefault(unit, set()).add(other)
    known = set()
    for component in circles(graph):
        excuse = next((name for name in CIRCLES if name in component), None)
        if excuse is None:
            yield f"{', '.join(component)}: include each other in a circle"
        else:
            known.add(excuse)
    for name in CIRCLES:
        if name not in known:
            yield f"{name}: CIRCLES excuses it, and it is in no circle"


def check_locks(tree):
    for path in tree.files:
        where = path.relative_to(tree.source)
        if str(where) == "host/mutex.hpp":
            continue
        for lock in sorted(set(LOCK.findall(path.read_text()))):
            yield f"{where}: uses {lock}, which no compiler checks; host/mutex.hpp has the locks"


CHECKS = (check_folders, check_includes, check_order, check_layers, check_circles, check_locks)


def check_door_tests(tests):
    folder = tests / DOOR_TESTS
    files = sorted(p for p in folder.rglob("*") if p.suffix in (".hpp", ".cpp"))
    if not any(p.name.endswith("_test.cpp") for p in files):
        yield f"{DOOR_TESTS}: there are no tests of the door"
    for path in files:
        named = DOOR_TESTS_NAME.get(path.name, set())
        for include in INCLUDE.findall(path.read_text()):
            own = (folder / include).is_file()
            if not own and include not in named and include.split("/")[0] not in DOOR_TESTS_SEE:
                yield f"{DOOR_TESTS}/{path.relative_to(folder)}: includes {include}; the tests of the door see the door alone"


def check_programs(tree, build):
    ninja = (build / "build.ninja").read_text()
    for program, allowed in PROGRAMS.items():
        statement = re.search(rf"^build bin/{program}: .*\n((?:  .*\n)*)", ninja, re.M)
        if not statement:
            yield f"{program}: build.ninja does not link it"
            continue
        line = re.search(r"^  LINK_LIBRARIES = (.*)$", statement.group(1), re.M)
        linked = set(re.findall(r"\bsrc/lib(\w+)\.a", line.group(1) if line else ""))
        for room in sorted(linked - set(allowed.split())):
            yield f"{program}: links {room}, which it may not have"


def print_sizes(tree):
    for room in tree.public:
        files = [p for p in tree.files if tree.room(p) == room]
        lines = sum(len(p.read_text().splitlines()) for p in files)
        print(f"{room:11} {len(files):4} files {lines:6} lines -> {' '.join(tree.uses(room))}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=pathlib.Path, required=True, help="the folder src")
    parser.add_argument("--tests", type=pathlib.Path, help="the folder tests")
    parser.add_argument("--build", type=pathlib.Path, help="a build's folder, with build.ninja")
    parser.add_argument("--sizes", action="store_true")
    options = parser.parse_args()
    tree = Tree(options.source)
    if options.sizes:
        print_sizes(tree)
    found = [line for check in CHECKS for line in check(tree)]
    if options.tests:
        found += check_door_tests(options.tests)
    if options.build:
        found += check_programs(tree, options.build)
    for line in found:
        print(line)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
