"""What a power cut can leave of a folder: its files as recorder.cpp saw them change, step by step, and at each step every
state that a disk may be in.

A file's data is certain once the file was synced, and a folder's entries once the folder was (fsync(2)). Of what has
changed since then, a cut leaves some entries and not others, each change whole; and of a file the old data, the new, a
part of it, or zeros in its place. A rename is one change, in whatever folders it is."""

import hashlib
import itertools
import os
from dataclasses import dataclass, field
from pathlib import Path

MOST_OPEN = 8  # changes of folders at the same time that are not synced: their subsets are looked at
CHANGES = {"create", "truncate", "write", "sync", "rename", "link", "unlink", "rmdir", "mkdir"}
STEPS = CHANGES | {"bind", "spawn", "failed", "exchange"}


@dataclass
class Line:
    what: str
    path: str
    other: str
    number: int
    data: bytes


def read_lines(log, start=0):
    """The recorder's lines from a byte of its log on."""
    with open(log, "rb") as file:
        file.seek(start)
        for line in file.read().decode().splitlines():
            what, path, other, number, data = line.split("\t")
            yield Line(what, path, other, int(number), bytes.fromhex(data))


@dataclass(eq=False)
class File:
    data: bytes
    synced: bytes = b""

    def after_a_cut(self):
        if self.data == self.synced:
            return [self.data]
        half = self.data[:len(self.data) // 2]
        return list(dict.fromkeys((self.data, self.synced, b"", half, bytes(len(self.data)))))


class Folder:
    """Whose entries are the disk's, since a change may be of two folders."""


@dataclass(eq=False)
class Disk:
    """The folder `root`, and what is below it."""
    root: Path
    top: Folder = field(default_factory=Folder)
    now: dict = field(default_factory=dict)  # (folder, name): a file or a folder
    synced: dict = field(default_factory=dict)  # the same on disk
    open: list = field(default_factory=list)  # changes that are not, in order: each such a dictionary, with None for what went

    @staticmethod
    def of(root):
        """As it is, and all on disk."""
        disk = Disk(Path(root))

        def load(path, folder):
            for entry in os.scandir(path):
                if entry.is_dir(follow_symlinks=False):
                    node = Folder()
                    load(entry.path, node)
                else:
                    data = Path(entry.path).read_bytes()
                    node = File(data, data)
                disk.now[folder, entry.name] = node

        load(root, disk.top)
        disk.synced = dict(disk.now)
        return disk

    def find(self, path):
        """A file or a folder by its path; None: it is outside, or not there (any more)."""
        path = Path(path)
        if not path.is_relative_to(self.root):
            return None
        node = self.top
        for name in path.relative_to(self.root).parts:
            node = self.now.get((node, name))
        return node

    def change(self, entries):
        """By path."""
        keys = {(self.find(Path(path).parent), Path(path).name): node for path, node in entries.items()}
        for key, node in keys.items():
            if node is None:
                del self.now[key]
            else:
                self.now[key] = node
        self.open.append(keys)

    def apply(self, line):
        if not Path(line.path).is_relative_to(self.root):
            return
        assert line.what in CHANGES | {"failed"}, f"no model of {line}"
        node = self.find(line.path)
        if line.what == "create":
            self.change({line.path: File(b"")})
        elif line.what == "mkdir":
            self.change({line.path: Folder()})
        elif line.what in ("unlink", "rmdir"):
            self.change({line.path: None})
        elif line.what == "rename":
            self.change({line.path: None, line.other: node})
        elif line.what == "link":
            self.change({line.other: node})
        elif line.what == "sync":
            self.sync(node)
        elif node is not None and line.what == "truncate":
            node.data = node.data[:line.number].ljust(line.number, b"\0")
        elif node is not None and line.what == "write":
            head, tail = node.data[:line.number].ljust(line.number, b"\0"), node.data[line.number + len(line.data):]
            node.data = head + line.data + tail

    def sync(self, node):
        if isinstance(node, File):
            node.synced = node.data
            return
        left = []
        for entries in self.open:
            if any(folder is node for folder, _ in entries):
                self.put(self.synced, entries)
            else:
                left.append(entries)
        self.open = left

    @staticmethod
    def put(into, entries):
        for key, node in entries.items():
            into[key] = node
            if node is None:
                del into[key]

    def tree(self, entries):
        """path: file, or None for a folder; of what can be reached."""
        found = {}

        def walk(folder, path):
            for (parent, name), node in entries.items():
                if parent is folder:
                    found[path / name] = node if isinstance(node, File) else None
                    if isinstance(node, Folder):
                        walk(node, path / name)

        walk(self.top, Path())
        return found

    def contents(self):
        """As it is without a cut: path: data, or None for a folder."""
        return {path: file and file.data for path, file in self.tree(self.now).items()}

    def after_a_cut(self):
        """Each: path: data, or None for a folder."""
        assert len(self.open) <= MOST_OPEN, self.open
        for chosen in itertools.product((True, False), repeat=len(self.open)):
            entries = dict(self.synced)
            for take, change in zip(chosen, self.open):
                if take:
                    self.put(entries, change)
            tree = self.tree(entries)
            files = list(dict.fromkeys(file for file in tree.values() if file))
            for datas in itertools.product(*(file.after_a_cut() for file in files)):
                data_of = dict(zip(files, datas))
                yield {path: file and data_of[file] for path, file in tree.items()}


def digest(tree):
    text = sorted((str(path), data is None, data or b"") for path, data in tree.items())
    return hashlib.sha256(repr(text).encode()).hexdigest()


def write_tree(tree, root):
    """The folders of a user whom nobody else may disturb."""
    for path, data in sorted(tree.items()):
        if data is None:
            (root / path).mkdir(mode=0o700)
        else:
            with open(os.open(root / path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(data)


def tree_of(root):
    return {path.relative_to(root): None if path.is_dir() else path.read_bytes() for path in Path(root).rglob("*")}
