"""What a QEMU command line says of CPU, memory, EPC and boot, whichever of its syntaxes it says it in: libvirt writes
objects as JSON, people as KEY=VALUE,… with doubled commas (qemu(1), -object; docs/system/keyval)."""

import json
import re
from dataclasses import dataclass, field

SWITCHES = {"-S", "-nographic", "-nodefaults", "-no-user-config", "-no-reboot", "-no-shutdown", "-no-acpi", "-enable-kvm",
            "-no-hpet"}
UNITS = {"": 0, "b": 0, "k": 10, "m": 20, "g": 30, "t": 40}


def options(argv):
    """(name, value) of each option, without the program."""
    result, rest = [], list(argv)
    while rest:
        name = re.sub("^--", "-", rest.pop(0))
        assert name.startswith("-"), f"QEMU's command line has {name!r} where an option is expected"
        result.append((name, None if name in SWITCHES else rest.pop(0)))
    return result


def keyvals(text, first=None):
    """[(key, value)] of KEY=VALUE,…; `first` is the key of a first value without one."""
    pairs = []
    for part in text.replace(",,", "\0").split(","):
        part = part.replace("\0", ",")
        key, equals, value = part.partition("=")
        if not equals:
            key, value = (first, part) if first and not pairs else (part, "on")
        pairs.append((key, value))
    return pairs


def size(text, unit=""):
    """Bytes of 64M; `unit` is what a bare number counts."""
    number, suffix = re.fullmatch(r"(\d+)([bkmgtBKMGT]?)", str(text)).groups()
    return int(number) << UNITS[suffix.lower() or unit]


def is_on(value):
    return value in (True, "on", "yes", "true", "y")


def node_list(values):
    nodes = set()
    for value in values:
        low, _, high = str(value).partition("-")
        nodes |= set(range(int(low), int(high or low) + 1))
    return sorted(nodes)


def backend(text):
    """An object's type, id and properties; of a property that is there several times all values."""
    if text.startswith("{"):
        properties = {key: value if isinstance(value, list) else [value] for key, value in json.loads(text).items()}
    else:
        properties = {}
        for key, value in keyvals(text, "qom-type"):
            properties.setdefault(key.removesuffix(".0"), []).append(value)
    return properties


@dataclass
class Facts:
    """What must be the same, whoever wrote the command line."""

    cpu: str = ""
    flags: dict = field(default_factory=dict)  # name with '-': on
    epc: list = field(default_factory=list)  # of each section: size, prealloc, host nodes, guest node
    memory: int = 128 << 20
    vcpus: int = 1
    kernel: str = ""
    initrd: str = ""
    append: str = ""
    localtime: bool = False  # else UTC, or a date that libvirt counted from it


def facts(argv):
    result, machine, backends, cpus = Facts(), {}, {}, 0
    for name, value in options(argv):
        if name in ("-machine", "-M"):
            machine |= dict(keyvals(value, "type"))
        elif name == "-object":
            properties = backend(value)
            if properties["qom-type"] == ["memory-backend-epc"]:
                backends[properties["id"][0]] = properties
        elif name == "-cpu":
            cpus += 1
            (_, result.cpu), *flags = keyvals(value, "model")
            for flag, state in flags:
                sign = flag[0] if flag[0] in "+-" else ""
                result.flags[flag.lstrip("+-").replace("_", "-")] = sign == "+" or not sign and is_on(state)
        elif name == "-m":
            result.memory = size(dict(keyvals(value, "size"))["size"], "m")
        elif name == "-smp":
            result.vcpus = int(dict(keyvals(value, "cpus"))["cpus"])
        elif name in ("-kernel", "-initrd", "-append"):
            setattr(result, name[1:], value)
        elif name == "-rtc":
            result.localtime = dict(keyvals(value)).get("base") == "localtime"
    assert cpus <= 1, f"{cpus} -cpu in {argv}"
    while (memdev := machine.pop(f"sgx-epc.{len(result.epc)}.memdev", None)) is not None:
        properties = backends.pop(memdev)
        result.epc.append({
            "size": size(properties["size"][0]),
            "prealloc": is_on(properties.get("prealloc", ["off"])[-1]),
            "host nodes": node_list(properties.get("host-nodes", [])),
            "node": int(machine.pop(f"sgx-epc.{len(result.epc)}.node", 0)),
        })
    left = [key for key in machine if key.startswith("sgx-epc")]
    assert not left and not backends, f"EPC that belongs to no section: {left} {sorted(backends)}"
    return result


def without_epc(argv):
    """The same machine without its EPC, so that a QEMU without /dev/sgx_vepc takes it."""
    result = []
    for name, value in options(argv):
        if name == "-object" and backend(value)["qom-type"] == ["memory-backend-epc"]:
            continue
        if name in ("-machine", "-M"):
            value = ",".join(part for part in value.split(",") if not part.startswith("sgx-epc."))
        result += [name] if value is None else [name, value]
    return result


def with_tcg(argv):
    """The same machine on QEMU's own interpreter, whose nearest to the host's processor is the largest that it has."""
    result = []
    for name, value in options(argv):
        if name in ("-accel", "-enable-kvm"):
            continue
        if name == "-cpu":
            value = re.sub(r"^host\b", "max", value)
        result += [name] if value is None else [name, value]
    return [*result, "-accel", "tcg"]
