"""A machine for a test: a cloisterd with folders of its own, its REST interface, and what must always be true of it."""

import ctypes
import http.client
import json
import os
import signal
import socket
import subprocess
import time
import uuid
from pathlib import Path

PATIENCE = 30  # seconds that anything may take on a busy machine
PAGE = 4096
MIB_PAGES = 256


def become_reaper():
    """Orphans of a daemon that was killed become ours, so that none stays behind as a zombie."""
    pr_set_child_subreaper = 36
    ctypes.CDLL(None).prctl(pr_set_child_subreaper, 1, 0, 0, 0)


def some(things, most):
    """As many of them at most, spread evenly, with the first and the last one; CLOISTER_FULL: all of them."""
    things, most = list(things), max(2, most)
    if os.environ.get("CLOISTER_FULL") or len(things) <= most:
        return things
    return [things[number * (len(things) - 1) // (most - 1)] for number in range(most)]


def wait_until(condition, what):
    """The first true value of the condition."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.002)
    raise AssertionError(f"waited {PATIENCE} s for {what}")


def stop(pid):
    """Stops a process, which is so once each of its threads has seen the signal, and not before."""

    def has_stopped():
        states = []
        for thread in Path(f"/proc/{pid}/task").iterdir():
            try:
                states.append((thread / "stat").read_text().rsplit(")", 1)[1].split()[0])
            except (FileNotFoundError, ProcessLookupError):
                pass
        return set(states) == {"T"}

    os.kill(pid, signal.SIGSTOP)
    wait_until(has_stopped, f"all threads of {pid} to stop")


def kill_pid(pid):
    """False: it has just ended by itself."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def is_alive(pid):
    """It is there, and has not ended and waits for nobody but its parent."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def open_files(pid):
    """What a process has open: where each of its descriptors leads. It may close one while we look."""
    links = {}
    for descriptor in os.listdir(f"/proc/{pid}/fd"):
        try:
            links[descriptor] = os.readlink(f"/proc/{pid}/fd/{descriptor}")
        except FileNotFoundError:
            pass
    return links


class Connection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=PATIENCE)
        self.path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(PATIENCE)
        self.sock.connect(self.path)


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self):
        return json.loads(self.body)


def domain_config(name, kernel, epc=1, **more):
    lines = [f'name = "{name}"', 'type = "pvh"', "memory = 64", f'kernel = "{kernel}"', f"epc = {epc}"]
    return "\n".join(lines + [f"{key} = {value}" for key, value in more.items()]) + "\n"


def multiply_definitions(folder, count):
    """Makes so many definitions, d0 and on, of the one in the folder, which is d0. No daemon runs."""
    (first,) = folder.iterdir()
    template = first.read_text()
    for number in range(1, count):
        own = json.loads(template)
        own["uuid"], own["name"] = str(uuid.UUID(int=number + (4 << 76) + (8 << 60))), f"d{number}"
        own["text"] = own["text"].replace('"d0"', f'"d{number}"')
        path = folder / f"{own['uuid']}.json"
        path.write_text(json.dumps(own))
        path.chmod(0o600)


class Machine:
    def __init__(self, settings, folder, description=None):
        self.settings = settings
        self.state, self.run = folder / "state", folder / "run"
        self.log = folder / "log"
        self.description = None
        if description:
            self.description = folder / "machine.toml"
            self.description.write_text(description)
        self.process = None
        self.environment = {}  # of the daemon, beside this test's own

    # ---- the daemon

    def command(self):
        command = [self.settings.programs / "cloisterd", "--state", self.state, "--run", self.run]
        return command + (["--machine", self.description] if self.description else [])

    def start(self):
        seen = self.log.stat().st_size if self.log.exists() else 0
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            env={**os.environ, **self.environment})

        def ready():
            assert self.process.poll() is None, "cloisterd ended:\n" + self.log.read_text()[-2000:]
            with open(self.log, "rb") as log:
                log.seek(seen)
                return b"program=cloisterd event=ready" in log.read()

        wait_until(ready, "cloisterd to be ready")
        return self

    def kill(self, number=signal.SIGKILL):
        self.process.send_signal(number)
        status = self.process.wait(PATIENCE)
        assert status == (-number if number == signal.SIGKILL else 0), f"cloisterd ended with {status}"

    def restart(self, number=signal.SIGKILL):
        self.kill(number)
        return self.start()

    def close(self):
        """Ends everything, whatever state it is in."""
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for pid in self.vmms():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        reap_orphans()

    # ---- REST

    def request(self, method, path, body=None, headers=None):
        connection = Connection(self.run / "cloisterd.sock")
        data = json.dumps(body) if isinstance(body, (dict, list)) else body
        connection.request(method, path, data, headers or {})
        reply = connection.getresponse()
        answer = Answer(reply.status, dict(reply.getheaders()), reply.read())
        connection.close()
        return answer

    def get(self, path):
        answer = self.request("GET", path)
        assert answer.status == 200, (path, answer.status, answer.body)
        return answer.json

    def kernel(self, name):
        return self.settings.payloads / f"{name}.elf"

    def creation(self, name, epc=1, kernel="resident", paused=False, **more):
        text = domain_config(name, self.kernel(kernel), epc, **more)
        return {"config": text, "file": f"{name}.cfg", "paused": paused}

    def create(self, name, **more):
        answer = self.request("POST", "/v1/domains", self.creation(name, **more))
        assert answer.status == 201, (answer.status, answer.body)
        return answer.json

    def destroy(self, name):
        answer = self.request("DELETE", f"/v1/domains/{name}")
        assert answer.status == 200, (answer.status, answer.body)
        return answer.json

    def domains(self):
        return {domain["name"]: domain for domain in self.get("/v1/domains")}

    def console(self, name):
        return self.request("GET", f"/v1/domains/{name}/console").body

    def wait_for_ready(self, name):
        wait_until(lambda: b"READY" in self.console(name), f"READY of {name}")

    # ---- sockets of a domain

    def type_into(self, name, text):
        """What comes back on the console after it was typed, up to the same text."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as console:
            console.settimeout(PATIENCE)
            console.connect(self.domains()[name]["console"])
            console.sendall(text)
            seen = b""
            while text not in seen:
                chunk = console.recv(4096)
                assert chunk, f"the console of {name} was closed after {seen}"
                seen += chunk
            return seen

    def descriptors(self, name):
        """Descriptors that the VMM holds: page, EPC, EPCM."""
        path = Path(self.domains()[name]["console"]).with_name("control.sock")
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as control:
            control.settimeout(PATIENCE)
            control.connect(str(path))
            control.sendall(b'{"verb":"descriptors"}')
            reply, descriptors, _, _ = socket.recv_fds(control, 65536, 8)
            assert json.loads(reply).get("ok"), reply
            return descriptors

    def epc_contents(self, name):
        """The bytes of the domain's EPC and of its EPCM, as the machine's memory has them. By read(2), which leaves holes
        as they are: to read them in a mapping takes memory for them, and ends the domain (epc-beyond)."""
        contents, descriptors = [], self.descriptors(name)
        for descriptor in descriptors[1:]:
            size = os.fstat(descriptor).st_size
            contents.append(os.pread(descriptor, size, 0))
            assert len(contents[-1]) == size
        for descriptor in descriptors:
            os.close(descriptor)
        return contents

    # ---- what is there

    def vmms(self):
        """Process ids of the VMMs below this test: the daemon's children, and those whose daemon has died."""
        parents, programs = {}, []
        for entry in filter(str.isdigit, os.listdir("/proc")):
            try:
                before, after = Path(f"/proc/{entry}/stat").read_text().rsplit(")", 1)
            except OSError:
                continue
            state, parent = after.split()[:2]
            parents[int(entry)] = int(parent)
            if before.endswith("(cloister-vmm") and state != "Z":
                programs.append(int(entry))

        def is_ours(pid):
            while pid and pid != os.getpid():
                pid = parents.get(pid, 0)
            return bool(pid)

        return [pid for pid in programs if is_ours(pid)]

    def open_files(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def check_accounts(self):
        """free + granted + withdrawn is the machine's, in every package, and what is granted is what domains have."""
        epc = self.get("/v1/epc")
        assert epc["total_pages"] == epc["free_pages"] + epc["granted_pages"] + epc["withdrawn_pages"], epc
        for package in epc["packages"]:
            parts = package["free_pages"] + package["granted_pages"] + package["withdrawn_pages"]
            assert package["total_pages"] == parts, package
            assert parts == sum(section["pages"] for section in package["sections"]), package
        assert len(epc["withdrawn"]) == epc["withdrawn_pages"], epc
        return epc

    def check_settled(self, names):
        """Exactly these domains, their frames granted and no others, and no file of any other."""
        domains = self.domains()
        assert set(domains) == set(names), (sorted(domains), sorted(names))
        epc = self.check_accounts()
        held = [extent for domain in self.get("/v1/epc/domains") for extent in domain["extents"]]
        assert epc["granted_pages"] == sum(extent["pages"] for extent in held), (epc, held)
        held.sort(key=lambda extent: extent["first"])
        for before, after in zip(held, held[1:]):
            assert before["first"] + before["pages"] <= after["first"], held
        ids = {str(domain["id"]) for domain in domains.values()}
        assert set(os.listdir(self.state / "domains")) == {f"{id}.json" for id in ids}
        assert set(os.listdir(self.run / "domains")) == ids, (os.listdir(self.run / "domains"), ids)
        assert (set(os.listdir(self.state)) | {"machine.json", "saved"}) - {"migrations"} == \
            {"definitions", "domains", "host.json", "keys", "machine.json", "platform-secret", "wrap-secret",
             "machine-key", "machine-key.pub", "saved", "tickets", "cloisterd.lock"}
        assert set(os.listdir(self.run)) == {"domains", "cloisterd.sock", "cloisterd.lock"}


def reap_orphans():
    while True:
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                return
        except ChildProcessError:
            return
