"""Who may do what with whose domain: the table of docs/access.md, each of its cells over the real sockets. As root the
users of its columns are users; otherwise there is one, who owns what the daemon has."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
from pathlib import Path

import browser
import cases_dashboard
from cases_api import Documented
from cases_owner import GROUP, MEMBER, Member, as_user
from machine import PATIENCE, Machine, wait_until

OTHER, STRANGER = 54324, 54325
TICKET = "1" * 64
EPC = "[[package]]\nepc = [{ base = 0x1_0000_0000, size = 4 }]\n"
BODIES = {"PUT /v1/migrations/{session}/proof": {"proof": "0" * 320},
          "POST /v1/domains/{domain}/migration/proof": {"session": "0" * 32, "answer": "0" * 448},
          "PATCH /v1/domains/{domain}": {"name": "renamed"}, "PATCH /v1/domains/{domain}/epc": {"weight": 200},
          "POST /v1/domains/{domain}/keys": {"sgx_platform": "private"},
          "POST /v1/domains/{domain}/save": {"file": "/none/saved"}, "POST /v1/domains/{domain}/snapshot": {"file": "/none/saved"},
          "POST /v1/restore": {"file": "/none/saved"},
          "POST /v1/domains/{domain}/migration/hold": {"session": "0" * 32},
          "POST /v1/domains/{domain}/migration/verdict": {"session": "0" * 32, "verdict": "commit"},
          "PUT /v1/migrations/{session}/verdict": {"verdict": "abort"},
          "PUT /v1/migrations/{session}/done": {"word": "0" * 64},
          "POST /v1/domains/{domain}/trigger": {"trigger": "nmi"}, "POST /v1/domains/{domain}/epc-target": {"mib": 1}}
VERBS = {"console": "use the console of", "control": "control", "keys": "change keys of",
         "epc": "say how EPC is shared by", "save": "save"}
# Of the table's columns, who stands for them: user and group.
USERS = {"owner": (MEMBER, GROUP), "root": (0, 0), "group": (OTHER, GROUP), "others": (STRANGER, STRANGER)}


def documented(m):
    """Rows of the table: the right, its requests, and whom it is given, by column."""
    text = (m.settings.document.parent / "access.md").read_text()
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| ")]
    rows = [row for row in cells if len(row) == 7 and row[2].startswith("`")]
    assert [row[0] for row in rows] == ["see", "create", "console", "control", "keys", "epc", "save", "host", ""], rows
    return [(row[0], re.findall("`(.*?)`", row[2]), dict(zip(USERS, row[3:]))) for row in rows]


def as_service(m, without=""):
    """From now on the daemon has the group and the capabilities that its unit gives it, and no others."""
    if os.geteuid() != 0:
        return
    unit = (m.settings.document.parents[1] / "packaging/cloisterd.service").read_text()
    kept = set(re.search(r"^CapabilityBoundingSet=(.*)$", unit, re.M)[1].split()) - {without}
    bounds = ",".join(["-all", *(name.lower().replace("cap_", "+") for name in sorted(kept))])
    m.command = lambda: ["setpriv", "--regid", str(GROUP), "--clear-groups", "--inh-caps", "-all", "--bounding-set",
                         bounds, *Machine.command(m)]


class Table:
    """A machine with a domain `one` of a member's."""

    def __init__(self, machine):
        self.m = machine(EPC)
        self.m.kill(signal.SIGTERM)
        shutil.rmtree(self.m.run)  # the service's group has those that it makes
        as_service(self.m)
        self.m.start()
        self.member = Member(self.m)
        self.document = Documented(self.m)
        self.is_root = self.member.is_root
        self.users = USERS if self.is_root else {"owner": (os.geteuid(), os.getegid())}
        self.owner = self.users["owner"][0]
        self.renew()

    def renew(self):
        for name in ("one", "renamed"):
            self.m.request("DELETE", f"/v1/domains/{name}")
        status, self.one = self.member.create("one", epc=1, vsock='"auto"')
        assert status == 201, self.one
        self.folder = Path(self.one["console"]).parent
        ticket = self.m.state / "tickets" / f"{TICKET}.json"
        ticket.write_text(json.dumps({"version": 1, "uuid": self.one["uuid"], "boot": 1, "session": "0" * 32, "domain": "0" * 32, "key": "0" * 64,
                                      "token": "0" * 64, "name": "one", "file": "/none", "group": "", "made": "", "user": self.owner}))
        ticket.chmod(0o600)

    def leave_to_group(self, keys):
        lines = "".join(f'{key} = "group"\n' for key in keys)
        self.m.description.write_text(f"[access]\n{lines}{EPC}")
        if self.m.process.poll() is None:
            self.m.kill(signal.SIGTERM)
        self.m.start()

    def connect(self, user, name):
        """What comes of it: None, or the error's name."""
        kind = socket.SOCK_STREAM if name in ("console.sock", "vsock.sock") else socket.SOCK_SEQPACKET

        def act():
            with socket.socket(socket.AF_UNIX, kind) as end:
                end.connect(str(self.folder / name))

        return as_user(*user, [], act)

    def ask(self, user, request):
        method, path = request.split()
        body = BODIES.get(request)
        if path == "/v1/domains" and method == "POST":
            body = self.member.creation("made")
        if path == "/v1/offers":
            body = {"offer": self.m.request("POST", "/v1/domains/one/migration/offer", {"enclaves": "lose"}).json}
        if path == "/v1/domains/{domain}" and method == "PUT":
            body = {key: value for key, value in self.member.creation("one").items() if key != "paused"}

        def act():
            answer = self.m.request(method, path.replace("{domain}", "one").replace("{key}", self.one["uuid"]).replace("{ticket}", TICKET).replace("{session}", "0" * 32), body)
            return [answer.status, answer.body.decode(errors="replace")]

        return as_user(*user, [], act)

    def state(self):
        one = self.m.domains().get("one", {})
        return {key: one.get(key) for key in ("id", "name", "state", "restarts")}

    def check(self, right, request, who, allowed):
        user, what = self.users[who], (right, request, who)
        if request.endswith(".sock"):
            found = self.connect(user, request)
            assert found == (None if allowed else "PermissionError"), (*what, found)
            return
        before = self.state()
        method, path = request.split()
        answer = self.ask(user, request)
        if who == "others":
            assert not allowed and answer == "PermissionError", (*what, answer)
            return
        status, text = answer
        if allowed:
            # Of a proof, which nobody waits for, and of a definition, which `one` has none of: 404. Of a file where there is none: 400, with the rights of who asks.
            if path.endswith(("/save", "/snapshot", "/restore")):
                assert status == 400 and "'/none/saved': No such file" in text, (*what, answer)
                return
            if path.endswith(("/migration", "/migrations", "/way")) and method != "DELETE":  # without a connection that goes on
                assert status == (404 if method == "GET" else 426), (*what, answer)
                return
            assert status in (200, 201, 409) or (status == 404 and path.endswith(("/definition", "/keys", "/proof"))), (*what, answer)
            if right == "control" or "{ticket}" in path:
                self.renew()
            elif request == "POST /v1/domains":
                assert self.m.domains()["made"]["owner"]["uid"] == user[0], what
                self.m.destroy("made")
            return
        assert status == 403, (*what, answer)
        whom = "may not say that the host goes" if right == "host" else \
            f"may not {VERBS[right]} '{self.one['uuid'] if '{key}' in path else TICKET if '{ticket}' in path else 'one'}', which is user {self.owner}'s"
        assert f"user {user[0]} {whom}" in text, (*what, text)
        assert "403" in self.document.document["paths"][path][method.lower()]["responses"], what
        assert self.state() == before, (*what, before)

    def check_sockets(self, keys):
        for name, owner, mode in (("console.sock", self.owner, 0o660 if "console" in keys else 0o600),
                                  ("vsock.sock", self.owner, 0o660 if "console" in keys else 0o600),
                                  ("control.sock", os.geteuid(), 0o600)):
            status = (self.folder / name).stat()
            group = GROUP if self.is_root else os.getegid()
            assert (status.st_uid, status.st_gid, status.st_mode & 0o7777) == (owner, group, mode), (name, keys, status)


def table(machine):
    """Every cell, with every word of [access], for a domain that an earlier daemon has made and for a new one."""
    t = Table(machine)
    rows = documented(t.m)
    for keys in ([], ["console"], ["control"]):
        t.leave_to_group(keys)
        t.check_sockets(keys)
        for right, requests, given in rows:
            for who in t.users:
                allowed = given[who] == "yes" or given[who].strip("`") in keys
                for request in requests:
                    t.check(right, request, who, allowed)
        t.check_sockets(keys)


def viewer(path, user, group):
    """A console's viewer, connected by that user."""
    ours, theirs = socket.socketpair()

    def connect():
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as console:
            console.connect(str(path))
            socket.send_fds(theirs, [b"x"], [console.fileno()])

    assert as_user(user, group, [], connect) is None
    (descriptor,) = socket.recv_fds(ours, 1, 1)[1]
    return socket.socket(fileno=descriptor)


def hung_up(viewer):
    """Whether it has been dropped; what it was shown is taken."""
    viewer.setblocking(False)
    try:
        while viewer.recv(65536):
            pass
        return True
    except BlockingIOError:
        return False


def sockets(machine):
    """What an older daemon left to the group is the owner's again; what is left of the dead goes, whosever it is."""
    t = Table(machine)
    m = t.m
    t.leave_to_group(["console"])
    t.check_sockets(["console"])
    viewers = {who: viewer(t.folder / "console.sock", *t.users[who]) for who in ("owner", "root", "group")
               if who in t.users}
    m.kill()
    for name in ("console.sock", "control.sock"):
        os.chown(t.folder / name, os.geteuid(), -1)
        (t.folder / name).chmod(0o660)
    t.leave_to_group([])
    t.check_sockets([])
    assert m.log.read_text().count("sockets-not-given") == 0
    if "group" in viewers:
        wait_until(lambda: hung_up(viewers["group"]), "the viewer to be dropped")
        viewers.pop("group").close()
    assert not any(hung_up(other) for other in viewers.values())
    if t.is_root:
        run = [m.settings.programs / "cloister", "--run", m.run]
        for words, says in ((["console", "one"], "Permission denied"), (["dmesg", "one"], "may not use the console of 'one'"),
                            (["destroy", "one"], "may not control 'one'")):
            done = subprocess.run([*run, *words], user=OTHER, group=GROUP, extra_groups=[], stdin=subprocess.DEVNULL,
                                  capture_output=True, text=True, timeout=PATIENCE)
            assert done.returncode == 1 and says in done.stderr, done
        assert f"status=403 domain=one uid={OTHER}" in m.log.read_text()
        assert t.connect((MEMBER, GROUP), "console.sock") is None
        assert t.connect((MEMBER, STRANGER), "console.sock") == "PermissionError", "no member any more"
    vmm = t.one["pid"]
    m.kill()
    os.kill(vmm, signal.SIGKILL)
    wait_until(lambda: vmm not in m.vmms(), "the end of the domain's process")
    assert t.folder.exists()
    m.start()
    m.check_settled([])
    if t.is_root:
        as_service(m, without="CAP_CHOWN")
        m.restart()
        status, answer = t.member.create("two")
        assert status == 500 and f"to user {MEMBER}: Operation not permitted" in answer["error"]["message"], answer
        m.create("roots")
        m.check_settled(["roots"])


def in_browser(address, says):
    """In the place of the second domain's console stands why it is not shown; all else is."""
    if not browser.program():
        return
    page = browser.Browser()
    try:
        page.open(address)
        page.wait("document.querySelectorAll('button.row').length == 2", "two domains")
        page.value("document.querySelectorAll('button.row')[1].click()")
        page.wait(f'document.getElementById("console-text").textContent.startsWith("{says}")', "the sentence")
        assert page.value("document.getElementById('lost').hidden")
        assert page.complaints == [], page.complaints
    finally:
        page.close()


def page(machine):
    """The dashboard shows what who started it may see."""
    t = Table(machine)
    t.m.create("roots")
    t.m.wait_for_ready("roots")
    owner = t.users["owner"]
    with cases_dashboard.dashboard(t.m, *(owner if t.is_root else ())) as shown:
        names = [domain["name"] for domain in json.loads(shown.get("v1/domains")[2])]
        assert names == ["one", "roots"], names
        assert shown.get("v1/domains/one/console")[0] == 200
        status, _, text = shown.get("v1/domains/roots/console")
        if t.is_root:
            says = f"user {MEMBER} may not use the console of 'roots'"
            assert status == 403 and says.encode() in text, (status, text)
            in_browser(shown.address, says)
        else:
            assert status == 200 and b"READY" in text


CASES = {"access": table, "access-sockets": sockets, "access-page": page}
