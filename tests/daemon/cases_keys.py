"""Keys of domains' own: whose enclaves open what whose have sealed, and what is kept from whom."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

from cases_sandbox import Skipped
from machine import PAGE, open_files

MACHINE = "[[package]]\nepc = [{ base = 0x1_0000_0000, size = 8 }]\n"


def keys_of(m, name):
    """What the domain's guest printed: the beginnings of its sealing key and of its report key."""
    m.wait_for_ready(name)
    text = m.console(name).decode()
    assert "WRONG" not in text, text
    return tuple(re.search(f"^{word} (0x[0-9a-f]{{6,}})", text, re.M)[1] for word in ("SEAL", "REPORT"))


def start(m, name, **more):
    domain = m.create(name, kernel="sgx_platform", **more)
    return domain, keys_of(m, name)


def text_of(name, m, **more):
    creation = m.creation(name, kernel="sgx_platform", **more)
    creation.pop("paused")
    return creation


def platforms(machine):
    """Private domains have each its own keys, and the same ones again; a group's are its members', and the machine's are
    those of the domains that want them."""
    m = machine(MACHINE)
    one, keys = start(m, "one")
    two, others = start(m, "two")
    assert one["sgx_platform"] == two["sgx_platform"] == "private"
    assert not set(keys) & set(others), (keys, others)
    # After its end, a reboot of its guest, and another daemon.
    m.destroy("one")
    again, seen = start(m, "one")
    assert seen == keys and again["uuid"] == one["uuid"], (seen, keys)
    m.restart()
    assert keys_of(m, "one") == keys
    m.destroy("one")
    assert start(m, "one")[1] == keys
    assert m.request("POST", "/v1/domains/one/reboot", {}).status in (200, 400)
    m.destroy("one")
    m.destroy("two")
    # Another name, the same uuid.
    assert start(m, "other", uuid=f'"{one["uuid"]}"')[1] == keys
    m.destroy("other")

    group = [start(m, name, sgx_platform='"group:db"')[1] for name in ("a", "b")]
    assert group[0] == group[1], group
    assert not set(group[0]) & {*keys, *others}
    machines = [start(m, name, sgx_platform='"machine"')[1] for name in ("c", "d")]
    assert machines[0] == machines[1] and not set(machines[0]) & {*keys, *others, *group[0]}, machines
    assert m.domains()["a"]["sgx_platform"] == "group:db" and m.domains()["c"]["sgx_platform"] == "machine"
    assert "sgx_platform" not in m.create("none", epc=0)
    files = set(os.listdir(m.state / "keys"))
    uuids = {m.domains()[name]["uuid"] for name in "abcd"} | {one["uuid"], two["uuid"]}
    assert files == {f"{uuid}.json" for uuid in uuids} | {"group-db.json"}, files


def same_uuid(machine):
    """A name's uuid is taken as long as another domain has it, and a uuid of one's own helps."""
    m = machine(MACHINE)
    one = m.create("one")
    assert m.request("PATCH", "/v1/domains/one", {"name": "first"}).status == 200
    answer = m.request("POST", "/v1/domains", m.creation("one"))
    assert answer.status == 409 and one["uuid"] in answer.json["error"]["message"], answer.body
    assert m.create("one", epc=0)["uuid"] != one["uuid"]  # which has no keys
    m.destroy("one")
    m.create("one", uuid='"3ba1b3d8-52a4-4f2c-9b1e-0d5b8d0c4a10"')
    m.check_settled(["first", "one"])


def damaged_keys(machine):
    """A key's file that cannot be understood stays as it is; its domain does not start, and all others do."""
    m = machine(MACHINE)
    _, keys = start(m, "one")
    uuid = m.domains()["one"]["uuid"]
    m.destroy("one")
    file = m.state / "keys" / f"{uuid}.json"
    good = file.read_text()
    for bad in ("", good[:-9], json.dumps({**json.loads(good), "version": 99}), good.replace('"power_ons":1', '"power_ons":9')):
        m.kill()
        file.write_text(bad)
        check = subprocess.run([*m.command(), "--check"], capture_output=True, text=True)
        assert check.returncode == 1 and f"keys/{uuid}.json" in check.stdout, check.stdout
        m.start()
        assert f"event=key-unread file=keys/{uuid}.json" in m.log.read_text()
        answer = m.request("POST", "/v1/domains", m.creation("one"))
        assert answer.status == 503 and f"keys/{uuid}.json" in answer.json["error"]["message"], answer.body
        m.create("two")
        m.destroy("two")
        assert file.read_text() == bad
    m.kill()
    file.write_text(good)
    m.start()
    assert start(m, "one")[1] == keys


PIECE = 1 << 20
ZEROS = bytes(PIECE)


def pieces(file, first, last):
    """What is there but for zeros, which nearly all of it is; each piece begins in the one before it, so that none cuts
    what is looked for."""
    for at in range(first, last, PIECE - 64):
        file.seek(at)
        data = file.read(min(PIECE, last - at))
        if data != ZEROS[: len(data)]:
            yield data


def present(pid, first, last):
    """The runs of pages that a process has in memory or in swap (/proc/PID/pagemap, proc(5)): the others hold nothing."""
    with open(f"/proc/{pid}/pagemap", "rb", buffering=0) as pages:
        pages.seek(first // PAGE * 8)
        tops = pages.read((last - first) // PAGE * 8)[7::8]
    for run in re.finditer(rb"[\x40-\xff]+", tops, re.DOTALL):
        yield first + run.start() * PAGE, first + run.end() * PAGE


def data_of(file):
    """The runs of a file that are no holes."""
    at, end = 0, os.fstat(file.fileno()).st_size
    while at < end:
        try:
            at = os.lseek(file.fileno(), at, os.SEEK_DATA)
        except OSError:
            return
        first, at = at, os.lseek(file.fileno(), at, os.SEEK_HOLE)
        yield first, at


def memory_of(pid):
    """All that a core of the process would have, and more. The EPC is read by its descriptors alone: reading the mappings
    takes memory for its holes, and a process whose EPC has more memory than is its own is ended (epc-beyond)."""
    parts = []
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            if "/memfd:cloister-epc" in line:
                continue
            first, last = (int(part, 16) for part in line.split()[0].split("-"))
            try:
                for run in present(pid, first, last):
                    parts.extend(pieces(memory, *run))
            except (OSError, ValueError, OverflowError):
                pass  # [vvar], or a guard page
    for descriptor, link in open_files(pid).items():
        if link.startswith("/memfd:"):
            with open(f"/proc/{pid}/fd/{descriptor}", "rb", buffering=0) as file:
                for run in data_of(file):
                    parts.extend(pieces(file, *run))
    return parts


def holds(parts, secret):
    return any(secret in part for part in parts)


def given(pid):
    """What a domain's process was given: the root of its platform, and what its paging key comes from."""
    for descriptor, link in open_files(pid).items():
        if "cloister-keys" in link:
            both = Path(f"/proc/{pid}/fd/{descriptor}").read_bytes()
            return both[:32], both[32:]
    raise AssertionError(f"process {pid} has no keys")


def secrecy(machine):
    """No domain's process holds a secret of the daemon's, nor a key of a neighbour's; all that it has is its own."""
    m = machine(MACHINE)
    names = {"one": {}, "two": {}, "member": {"sgx_platform": '"group:db"'}, "old": {"sgx_platform": '"machine"'}}
    pids = {name: start(m, name, **more)[0]["pid"] for name, more in names.items()}
    pids["none"] = m.create("none", epc=0)["pid"]
    secrets = {name: (m.state / name).read_bytes() for name in ("wrap-secret", "platform-secret")}
    try:
        memory = {name: memory_of(pid) for name, pid in pids.items()}
        keys = {name: given(pid) for name, pid in pids.items() if name != "none"}
    except PermissionError as error:
        raise Skipped("this user may not look into a VMM, which is not dumpable") from error
    for name, parts in memory.items():
        assert not holds(parts, secrets["wrap-secret"]), name
        assert holds(parts, secrets["platform-secret"]) == (name == "old"), name
        for whose, both in keys.items():
            for key in both:
                assert holds(parts, key) == (name == whose), (name, whose)
    assert keys["one"][0] == keys["one"][1] and keys["old"][0] == secrets["platform-secret"], "not as they were looked for"
    # What is on disk is no key either.
    files = [path.read_bytes() for path in (m.state / "keys").iterdir()]
    for both in keys.values():
        for key in both:
            assert not holds(files, key) and not holds(files, key.hex().encode())


def earlier(m):
    """Makes of a state folder one of before domains had keys of their own."""
    for folder in ("domains", "definitions"):
        for path in (m.state / folder).iterdir():
            record = json.loads(path.read_text())
            record["version"] = 5 if folder == "domains" else 1
            for member in ("sgx_platform", "machine_keys"):
                record.pop(member, None)
            path.write_text(json.dumps(record))
    shutil.rmtree(m.state / "keys")
    (m.state / "wrap-secret").unlink()


def upgrade(machine):
    """A state folder of before there were keys: what was defined, and what runs, has the keys that all had, and what was
    sealed with them; until it is wanted otherwise."""
    m = machine(MACHINE)
    # Both have the secret that all had.
    _, keys = start(m, "lives", sgx_platform='"machine"')
    assert m.request("PUT", "/v1/domains/defined", text_of("defined", m)).status == 201
    m.kill()
    earlier(m)
    secret = (m.state / "platform-secret").read_bytes()
    m.start()
    assert m.domains()["lives"]["sgx_platform"] == "machine" and m.domains()["lives"]["state"] == "running"
    defined = m.get("/v1/domains/defined")
    assert (defined["state"], defined["sgx_platform"]) == ("shut off", "machine"), defined
    assert m.request("POST", "/v1/domains/defined/start", {}).status == 201
    assert keys_of(m, "defined") == keys
    assert (m.state / "platform-secret").read_bytes() == secret
    # It stays so, over another daemon and another text.
    m.destroy("defined")
    m.restart()
    assert m.request("PUT", "/v1/domains/defined", text_of("defined", m, vcpus=2)).status == 200
    assert m.request("POST", "/v1/domains/defined/start", {}).status == 201
    assert keys_of(m, "defined") == keys
    # What is new has its own.
    assert not set(start(m, "new")[1]) & set(keys)
    m.destroy("defined")
    assert m.request("PUT", "/v1/domains/defined", text_of("defined", m, sgx_platform='"private"')).status == 200
    assert m.request("POST", "/v1/domains/defined/start", {}).status == 201
    assert not set(keys_of(m, "defined")) & set(keys)


def key_verbs(machine):
    """`cloister keys` and `undefine --keys`, as a person types them."""
    m = machine(MACHINE)

    def cloister(*words, status=0):
        done = subprocess.run([m.settings.programs / "cloister", "--run", m.run, *words], capture_output=True, text=True)
        assert done.returncode == status, (words, done)
        return done.stdout + done.stderr

    one, keys = start(m, "one", sgx_platform='"group:db"')
    uuid = one["uuid"]
    table = [line.split() for line in cloister("keys").splitlines()]
    assert table[0][0] == "KEY" and [row[0] for row in table[1:]] == [uuid, "group:db"], table
    assert all(row[-1] == "one" and row[-2] == "one" and row[2] == str(os.geteuid()) for row in table[1:]), table
    assert "'one' does, or may" in cloister("keys", "erase", "group:db", status=1)
    m.destroy("one")
    assert "cannot be opened any more" in cloister("keys", "erase", "group:db")
    assert [key["key"] for key in json.loads(cloister("keys", "--json"))] == [uuid]
    assert start(m, "one", sgx_platform='"group:db"')[1] != keys
    m.destroy("one")
    assert "no key 'group:x'" in cloister("keys", "erase", "group:x", status=1)
    # Those of an earlier version's definition.
    assert m.request("PUT", "/v1/domains/kept", text_of("kept", m)).status == 201
    m.kill()
    earlier(m)
    m.start()
    assert "sgx_platform  machine" in re.sub(" +", "  ", cloister("info", "kept"))
    said = cloister("keys", "move", "kept", "private")
    assert "cannot be opened" in said and "its next start" in said, said
    assert "sgx_platform  private" in re.sub(" +", "  ", cloister("info", "kept"))
    cloister("keys", "move", "kept", "machine", status=2)
    assert m.request("POST", "/v1/domains/kept/start", {}).status == 201
    keys_of(m, "kept")
    m.destroy("kept")
    assert len(json.loads(cloister("keys", "--json"))) == 1
    assert "its keys are erased" in cloister("undefine", "--keys", "kept")
    assert json.loads(cloister("keys", "--json")) == [] and os.listdir(m.state / "keys") == []


CASES = {"key-verbs": key_verbs, "platforms": platforms, "same-uuid": same_uuid, "damaged-keys": damaged_keys, "secrecy": secrecy,
         "keys-upgrade": upgrade}
