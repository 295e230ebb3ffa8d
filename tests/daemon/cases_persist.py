"""Domains that persist, as their users have them: by `cloister` and by REST."""

import fcntl
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import termios
import threading
import uuid

from cases_ends import press, says
from cases_owner import MACHINE as ONE_PACKAGE, MEMBER, Member
from machine import PATIENCE, domain_config, stop, wait_until

WRONG, FAILED = 2, 1  # exit statuses
FORMS = {
    "plain": "{}",
    "no-newline": "{}# no newline at its end",
    "crlf": "{}\r\n# of another system\r\n\r\n",
    "blank": "\n\n  \t{}   \n\n",
    "utf-8": "{}# caf\u00e9 \U0001f512 \u202e\n",
    "json": '{}# "quoted" \\ \\u0041 \x7f\n',
}


class Cloister:
    """The program, at one machine. `editor`: what a shell does to the file "$1"."""

    def __init__(self, m):
        self.m = m
        self.folder = m.state.parent / "user"
        self.folder.mkdir()

    def command(self, *words):
        return [self.m.settings.programs / "cloister", "--run", self.m.run, *words]

    def environment(self, editor):
        script = self.folder / "editor"
        script.write_text(f"#!/bin/sh\n{editor}\n")
        script.chmod(0o700)
        return {**os.environ, "TMPDIR": str(self.folder), "VISUAL": "", "EDITOR": str(script)}

    def __call__(self, *words, status=0, editor="false"):
        """What it printed, as bytes; what it said is `said`."""
        done = subprocess.run(self.command(*words), stdin=subprocess.DEVNULL, capture_output=True, timeout=4 * PATIENCE,
                              cwd=self.folder, env=self.environment(editor))
        self.said = done.stderr.decode()
        assert done.returncode == status, (words, done)
        return done.stdout

    def file(self, name, text):
        path = self.folder / f"{name}.cfg"
        path.write_bytes(text.encode())
        return path

    def define(self, name, text=None, memory=64, **more):
        config = domain_config(name, self.m.kernel("resident"), epc=0, **more).replace("memory = 64", f"memory = {memory}")
        path = self.file(name, text or config)
        self("define", path)
        return path.read_bytes().decode()

    def listed(self):
        """The rows of `list --all`, by name."""
        rows = [line.split() for line in self("list", "--all").decode().partition("\n\n")[0].splitlines()[1:]]
        return {row[0]: row[1:] for row in rows}

    def kept(self):
        """What edit left behind, which it must have named."""
        paths = re.findall(r"kept in (\S+)", self.said)
        left = sorted(str(path) for path in self.folder.glob("cloister-*.cfg"))
        assert paths == left, (paths, left)
        texts = []
        for path in map(self.folder.joinpath, left):
            assert path.stat().st_mode & 0o7777 == 0o600, path
            texts.append(path.read_bytes())
            path.unlink()
        return texts


def life(machine):
    """Defined, listed, started, ended, changed, renamed and forgotten."""
    m = machine()
    cloister = Cloister(m)
    cloister.define("one")
    assert cloister.said == "cloister: one is defined\n" and m.domains() == {}, cloister.said
    assert cloister("list").decode().count("\n") == 1
    assert cloister.listed() == {"one": ["-", "shut", "off", "1", "64", "0", "-"]}, cloister.listed()
    off = m.get("/v1/domains/one")
    assert (off["id"], off["pid"], off["state"], off["persistent"]) == (0, 0, "shut off", True), off
    assert "differs" not in off and off["autostart"] == "off" and str(uuid.UUID(off["uuid"])) == off["uuid"], off
    assert m.get(f"/v1/domains/{off['uuid']}") == off
    for refused in ("pause", "shutdown", "reboot"):
        answer = m.request("POST", f"/v1/domains/one/{refused}")
        assert answer.status == 409 and "shut off" in answer.json["error"]["message"], answer.body
    assert m.request("DELETE", "/v1/domains/one").status == 409
    for verb in ("dmesg", "console"):
        cloister(verb, "one", status=FAILED)
        assert "'one' is shut off" in cloister.said, cloister.said

    cloister("start", "one")
    m.wait_for_ready("one")
    on = m.get(f"/v1/domains/{off['uuid']}")
    assert on["id"] > 0 and on["uuid"] == off["uuid"] and on["differs"] == [], on
    assert b"differs" in cloister("info", "one")
    cloister("undefine", "one", status=FAILED)
    assert "can be undefined when it is shut off" in cloister.said, cloister.said
    for words in (("start", "one"), ("rename", "one", "two"), ("create", cloister.folder / "one.cfg")):
        cloister(*words, status=FAILED)
    # A change counts at the next start, by whatever it is asked for; what has another meaning alone is told.
    text = cloister.define("one", memory=96, vcpus=2)
    assert cloister.said == "cloister: one is defined anew\n", cloister.said
    now = m.domains()["one"]
    assert sorted(m.get("/v1/domains/one")["differs"]) == ["memory", "vcpus"] and now["memory_mib"] == 64, now
    assert b"as defined from its next start on" in cloister("info", "one")
    cloister("define", cloister.file("one", "# a comment\n" + text))
    assert sorted(m.get("/v1/domains/one")["differs"]) == ["memory", "vcpus"]
    m.restart()
    assert m.domains()["one"]["pid"] == on["pid"]
    cloister("destroy", "one")
    assert cloister.listed()["one"][:3] == ["-", "shut", "off"]
    ended = m.get("/v1/domains/one")
    assert ended["ending"] == "destroyed" and re.fullmatch(r"[-0-9]{10}T[0-9:]{8}Z", ended["ended"]), ended
    assert re.search(rb"^ending +destroyed$", cloister("info", "one"), re.M)
    m.restart()
    cloister("start", "-p", "one")
    assert (m.domains()["one"]["memory_mib"], m.domains()["one"]["state"]) == (96, "paused")
    cloister("destroy", "one")

    cloister("rename", "one", "uno")
    assert re.search(rb'^name = "uno"$', cloister("dumpcfg", "uno"), re.M) and set(cloister.listed()) == {"uno"}
    assert m.get("/v1/domains/uno")["uuid"] == off["uuid"]
    cloister("undefine", "uno")
    assert cloister.listed() == {} and os.listdir(m.state / "definitions") == []
    for words in (("start", "uno"), ("undefine", "uno"), ("dumpcfg", "uno"), ("edit", "uno"), ("autostart", "uno", "on")):
        cloister(*words, status=FAILED)
        assert "no domain 'uno'" in cloister.said, cloister.said


def persist(machine):
    """`create --persist` defines and starts; a domain that cannot be started stays defined; `create` alone keeps nothing."""
    m = machine(ONE_PACKAGE)
    cloister = Cloister(m)
    cloister("create", "--persist", cloister.file("one", domain_config("one", m.kernel("resident"))))
    assert m.domains()["one"]["persistent"] and m.domains()["one"]["epc_mib"] == 1
    cloister("create", "--persist", cloister.folder / "one.cfg", status=FAILED)
    assert "is defined already" in cloister.said, cloister.said
    cloister("create", "--persist", cloister.file("big", domain_config("big", m.kernel("resident"), epc=4)), status=FAILED)
    assert "defined" in cloister.said and "not started" in cloister.said, cloister.said
    assert cloister.listed()["big"][:3] == ["-", "shut", "off"]
    cloister("create", cloister.folder / "big.cfg", status=FAILED)
    assert "is defined, and shut off" in cloister.said, cloister.said
    cloister("define", cloister.file("warned", domain_config("warned", m.kernel("resident"), epc=0, memroy=512)))
    assert re.match(r"warning: \S*warned\.cfg:\d+:\d+: ", cloister.said), cloister.said
    cloister("start", "-p", "warned")
    assert cloister.said.startswith("warning: "), cloister.said
    cloister("destroy", "warned")
    cloister("undefine", "warned")
    cloister("create", cloister.file("gone", domain_config("gone", m.kernel("resident"), epc=0)))
    assert not m.domains()["gone"]["persistent"] and m.domains()["gone"]["uuid"]
    for words in (("dumpcfg", "gone"), ("undefine", "gone"), ("define", cloister.folder / "gone.cfg"), ("autostart", "gone", "on")):
        cloister(*words, status=FAILED)
    cloister("destroy", "gone")
    assert set(cloister.listed()) == {"one", "big"}
    # What create would refuse is not defined either.
    wrong = {'name = "x"\nmemory = "much"\n': "x.cfg:2:10: ", 'name = "x"\nkernel = "/nowhere"\n': "No such file", 'memory = 64\n': "name"}
    cloister("define", ".", status=WRONG)
    assert cloister.said == ".: cannot read: it is a folder\n", cloister.said
    for text, words in wrong.items():
        cloister("define", cloister.file("x", text), status=WRONG)
        assert words in cloister.said, cloister.said
    # Nor what could not be loaded: each file is good, and they do not fit beside each other.
    large = cloister.folder / "large"
    with large.open("wb") as file:
        file.truncate((63 << 20) + 1)
    refused = {"do not fit in the RAM": {"ramdisk": f'"{large}"'}, "the kernel takes 2047 at most": {"cmdline": f'"{"x" * 2048}"'}}
    for words, more in refused.items():
        cloister("define", cloister.file("x", domain_config("x", m.kernel("resident"), epc=0, **more)), status=WRONG)
        assert re.match(r".*x.cfg:4:10: cannot use kernel '.*", cloister.said) and words in cloister.said, cloister.said
    assert set(cloister.listed()) == {"one", "big"}
    cloister("destroy", "one")
    cloister("start", "big")


def text_kept(machine):
    """A text is kept byte for byte, however it came, whatever is done to the daemon."""
    m = machine()
    cloister = Cloister(m)
    texts = {}
    for name, form in FORMS.items():
        texts[name] = form.format(domain_config(name, m.kernel("resident"), epc=0).replace("\n", "\r\n" if name == "crlf" else "\n"))
        cloister.define(name, texts[name])
    # As long as a file may be, and twice as long on its way.
    texts["longest"] = (domain_config("longest", m.kernel("resident"), epc=0) + "#" + '"' * (1 << 20))[:1 << 20]
    cloister.define("longest", texts["longest"])
    for _ in range(2):
        for name, text in texts.items():
            assert cloister("dumpcfg", name) == text.encode(), name
            definition = json.loads(cloister("dumpcfg", "--json", name))
            assert definition["config"] == text and definition["file"].endswith(f"{name}.cfg"), definition
            assert definition["directory"] == str(cloister.folder), definition
        m.restart()
    cloister("rename", "longest", "longest.new", status=FAILED)
    assert "longer than a file may be" in cloister.said, cloister.said
    del texts["longest"]
    # One string of it is the name, and nothing else is another after a rename.
    for name, text in texts.items():
        cloister("rename", name, name + ".new")
        assert cloister("dumpcfg", name + ".new") == text.replace(f'"{name}"', f'"{name}.new"').encode(), name


def on_terminal(command, environment, answers, session=False):
    """Runs it on a terminal, and types each answer when it is asked; its exit status, and what was seen. With a session
    the terminal is its own, and has keys for signals."""
    ours, theirs = pty.openpty()
    own = (lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0)) if session else None
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, start_new_session=True,
                               preexec_fn=own)
    os.close(theirs)
    seen = b""
    for answer in answers:
        while not seen.endswith(b"Edit it again? [Y/n] "):
            seen += os.read(ours, 4096)
        os.write(ours, answer)
        seen += b"..."
    try:
        while chunk := os.read(ours, 4096):
            seen += chunk
    except OSError:
        pass  # the other end is closed
    os.close(ours)
    return process.wait(PATIENCE), seen.decode()


def edited(machine):
    """`edit`: what the editor leaves is defined, or the old text stays; nothing that was typed is lost."""
    m = machine()
    cloister = Cloister(m)
    old = cloister.define("one").encode()

    cloister("edit", "one", editor="true")
    assert cloister.said == "cloister: one is unchanged\n" and cloister.kept() == [], cloister.said
    cloister("edit", "one", editor="""printf '# \\303\\251' >>"$1" """)
    new = old + "# \u00e9".encode()
    assert cloister("dumpcfg", "one") == new and cloister.kept() == []
    definition = m.get("/v1/domains/one/definition")
    assert definition["file"].endswith("one.cfg") and definition["directory"] == str(cloister.folder), definition

    # Without a terminal a wrong text is not edited again, but kept.
    cloister("edit", "one", editor="""printf '\\nmemory = "much"\\n' >>"$1" """, status=WRONG)
    assert re.search(r"one\.cfg:\d+:10: 'memory'", cloister.said), cloister.said
    assert cloister.kept() == [new + b'\nmemory = "much"\n'] and cloister("dumpcfg", "one") == new
    cloister("edit", "one", editor="""printf '\\351' >"$1" """, status=WRONG)
    assert "0xe9" in cloister.said and cloister.kept() == [b"\xe9"]
    cloister("edit", "one", editor="""echo 'name = "other"' >"$1" """, status=WRONG)
    assert cloister.kept() == [b'name = "other"\n']
    cloister("edit", "one", editor="""echo x >"$1"; exit 3""", status=FAILED)
    assert "status 3" in cloister.said and cloister.kept() == [b"x\n"]
    cloister("edit", "one", editor="exit 3", status=FAILED)
    assert cloister.kept() == [] and cloister("dumpcfg", "one") == new

    # On one, whoever is asked may mend it, or give up.
    mends = """if grep -q '^memory = much' "$1"; then sed -i 's/^memory = .*/memory = 128/' "$1"
               else sed -i 's/^memory = .*/memory = much/' "$1"; fi"""
    status, seen = on_terminal(cloister.command("edit", "one"), cloister.environment(mends), [b"\n"])
    assert status == 0 and "one is defined anew" in seen, (status, seen)
    assert cloister("dumpcfg", "one") == new.replace(b"memory = 64", b"memory = 128")
    status, seen = on_terminal(cloister.command("edit", "one"), cloister.environment(mends), [b"n\n"])
    cloister.said = seen.replace("\r\n", "\n")
    assert status == WRONG and cloister.kept() == [new.replace(b"memory = 64", b"memory = much")], (status, seen)

    # Ctrl-C in the place of an answer leaves what was edited where the question has said.
    status, seen = on_terminal(cloister.command("edit", "one"), cloister.environment(mends), [b"\x03"], session=True)
    (named,) = re.findall(r"What was edited is in (\S+)\. Edit", seen)
    assert status == -signal.SIGINT and named in map(str, cloister.folder.glob("cloister-*.cfg")), (status, seen)
    os.unlink(named)

    # Somebody else was faster: that stays, whether it is another text or none.
    other = cloister.file("other", old.decode() + "# of somebody else\n")
    faster = " ".join(f"'{word}'" for word in cloister.command("define", other))
    cloister("edit", "one", editor=f"""echo '# mine' >>"$1"; {faster}""", status=FAILED)
    mine = new.replace(b"memory = 64", b"memory = 128") + b"# mine\n"
    assert "somebody else" in cloister.said and cloister.kept() == [mine], cloister.said
    assert cloister("dumpcfg", "one") == other.read_bytes()
    forgets = " ".join(f"'{word}'" for word in cloister.command("undefine", "one"))
    cloister("edit", "one", editor=f"""echo '# mine' >>"$1"; {forgets}""", status=FAILED)
    assert cloister.kept() == [other.read_bytes() + b"# mine\n"] and cloister.listed() == {}, cloister.said


def tags(machine):
    """Preconditions (RFC 9110, 13.1): of two who change the same text, one is told."""
    m = machine()
    path = "/v1/domains/one"

    def text(more="", name="one"):
        return {"config": domain_config(name, m.kernel("resident"), epc=0) + more, "file": "one.cfg"}

    def put(body, status, **fields):
        answer = m.request("PUT", path, body, {name.replace("_", "-"): value for name, value in fields.items()})
        assert answer.status == status, (fields, answer.status, answer.body)
        return answer.headers.get("ETag")

    put(text(), 412, If_Match="*")
    put(text(), 412, If_Match='"x"')
    first = put(text(), 201, If_None_Match="*")
    assert re.fullmatch(r'"[0-9a-f]{32}"', first), first
    answer = m.request("PUT", path, text(), {"If-None-Match": "*"})
    assert answer.status == 412 and "is defined, and the request expects that it is not" in answer.json["error"]["message"], answer.body
    second = put(text("# 2\n"), 200, If_Match=first)
    assert second != first
    put(text("# 3\n"), 412, If_Match=first)
    put(text("# 3\n"), 412, If_Match=f"W/{second}")
    put(text("# 3\n"), 412, If_None_Match=f'"x", W/{second}')
    assert put(text("# 2\n"), 200, If_Match=f'"x" , {second}') == second
    assert put({**text("# 2\n"), "file": "two.cfg"}, 200, If_Match="*") != second
    third = put(text("# 3\n"), 200)
    for wrong, found in (("x", "'x'"), ('"x', "'\"x'"), ("*, *", "'*, *'"), (f"{third} {third}", f"'{third}' after an entity-tag"), ("", "nothing")):
        for field in ("If-Match", "If-None-Match"):
            answer = m.request("PUT", path, text("# 4\n"), {field: wrong})
            expected = f"the request's {field}: found {found}, expected * alone, or entity-tags, each in double quotes, with commas between them"
            assert answer.status == 400 and answer.json["error"]["message"] == expected, answer.body
    answer = m.request("PUT", path, text("# 4\n"), {"If-Match": f'"{"x" * 8000}"'})
    assert answer.status == 431 and "a field in it, is too long" in answer.json["error"]["message"], answer.body
    put(text("memory = much\n"), 400, If_Match=third)
    put(text(name="two"), 400)
    answer = m.request("GET", path + "/definition")
    assert answer.headers["ETag"] == third and answer.json["config"].endswith("# 3\n"), answer.body
    assert m.request("GET", path + "/definition", headers={"If-None-Match": third}).status == 304
    assert m.request("GET", path + "/definition", headers={"If-None-Match": first}).status == 200
    # What changes or removes it keeps to the tag, too.
    for method, where, body in (("PATCH", path, {"order": 5}), ("DELETE", path + "/definition", None)):
        for wrong in ({"If-Match": first}, {"If-None-Match": third}):
            answer = m.request(method, where, body, wrong)
            assert answer.status == 412 and "another definition" in answer.json["error"]["message"], answer.body
    # All that the answer has is in it: who has not seen when it is started changes nothing of that.
    seen = [third]
    for body in ({"order": 5}, {"delay_seconds": 2}, {"autostart": "on"}):
        assert m.request("PATCH", path, body, {"If-Match": seen[-1]}).status == 200
        assert m.request("PATCH", path, {"order": 9}, {"If-Match": seen[-1]}).status == 412
        answer = m.request("GET", path + "/definition", headers={"If-None-Match": seen[-1]})
        assert answer.status == 200 and answer.json.items() >= body.items(), answer.body
        seen.append(answer.headers["ETag"])
    assert len(set(seen)) == 4
    m.restart()
    third = m.request("GET", path + "/definition").headers["ETag"]
    assert third == seen[-1]

    # Ten at once, for the same text: one of them counts, and it is what is there.
    statuses = {}

    def change(i):
        statuses[i] = m.request("PUT", path, text(f"# by {i}\n"), {"If-Match": third}).status

    threads = [threading.Thread(target=change, args=(i,)) for i in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses.values()) == [200] + 9 * [412], statuses
    (winner,) = [i for i, status in statuses.items() if status == 200]
    assert m.get(path + "/definition")["config"].endswith(f"# by {winner}\n")


def uuids(machine):
    """A uuid is the text's, or made once; it is one definition's, and stays it."""
    m = machine()
    cloister = Cloister(m)
    given, other = str(uuid.uuid4()), str(uuid.uuid4())
    cloister.define("given", uuid=f'"{given.upper()}"')
    cloister.define("made")
    made = m.get("/v1/domains/made")["uuid"]
    assert m.get("/v1/domains/given")["uuid"] == given and m.get(f"/v1/domains/{given}")["name"] == "given"
    assert made not in (given, other)

    def refused(name, *, uuid, status=FAILED, verb="define"):
        text = domain_config(name, m.kernel("resident"), epc=0, uuid=f'"{uuid}"')
        cloister(verb, cloister.file("x", text), status=status)
        assert "uuid" in cloister.said, cloister.said

    refused("third", uuid=given)
    refused("made", uuid=given)
    refused("given", uuid=other)
    refused("third", uuid=made, verb="create")
    for wrong in ("", "x", given[:-1], given + "0", "../../../etc/passwd", given.replace("-", "/"), given + "/.."):
        refused("third", uuid=wrong, status=WRONG)
    assert set(cloister.listed()) == {"given", "made"}
    cloister.define("given")  # a text without one leaves it
    cloister.define("made", uuid=f'"{made}"')
    m.restart()
    assert m.get("/v1/domains/given")["uuid"] == given and m.get("/v1/domains/made")["uuid"] == made
    assert sorted(os.listdir(m.state / "definitions")) == sorted(f"{one}.json" for one in (given, made))
    # That of a definition that is gone is free.
    cloister("undefine", "given")
    cloister.define("third", uuid=f'"{given}"')
    # Names that lead elsewhere are none.
    for name in ("..", "a/b", "../x", "%2e%2e", "12", ""):
        text = {"config": domain_config(name, m.kernel("resident"), epc=0), "file": "x.cfg"}
        answer = m.request("PUT", f"/v1/domains/{name.replace('/', '%2F')}", text)
        assert answer.status in (400, 404), (name, answer.status)
    assert set(cloister.listed()) == {"third", "made"}


def owners(machine):
    """A definition is its owner's: nobody but root writes it anew, and its files are opened with its owner's rights."""
    m = machine(ONE_PACKAGE)
    member = Member(m)

    def text(name, **more):
        return {key: value for key, value in member.creation(name, **more).items() if key != "paused"}

    status, mine = member.request("PUT", "/v1/domains/mine", text("mine"))
    assert status == 201, mine
    assert mine["owner"]["uid"] == (MEMBER if member.is_root else os.geteuid()), mine
    status, started = member.request("POST", "/v1/domains/mine/start", {"paused": True})
    assert status == 201 and started["owner"] == mine["owner"], started
    m.destroy("mine")
    if not member.is_root:
        return
    secret = member.folder / "secret"
    secret.write_text("root's")
    secret.chmod(0o600)
    status, answer = member.request("PUT", "/v1/domains/mine", text("mine", ramdisk=f'"{secret}"'))
    assert status == 400 and "ramdisk" in answer["error"]["message"], answer
    # Root may write it anew: it stays its owner's, whose rights count.
    answer = m.request("PUT", "/v1/domains/mine", text("mine", ramdisk=f'"{secret}"'))
    assert answer.status == 400, answer.body
    answer = m.request("PUT", "/v1/domains/mine", text("mine", memory=32))
    assert answer.status == 200 and answer.json["owner"] == mine["owner"], answer.body
    # So many texts are enough; root is not kept out by them.
    long = "#" * 1_000_000
    statuses = [member.request("PUT", f"/v1/domains/long{i}", {**text(f"long{i}"), "config": text(f"long{i}")["config"] + long})[0]
                for i in range(17)]
    assert statuses == [201] * 16 + [507], statuses
    status, answer = member.request("PUT", "/v1/domains/mine", {**text("mine"), "config": text("mine")["config"] + long})
    assert status == 507 and "may have 16 MiB" in answer["error"]["message"], answer
    for i in range(16):
        assert member.request("DELETE", f"/v1/domains/long{i}/definition")[0] == 200
    # Root's own is nobody else's.
    roots = text("roots")
    assert m.request("PUT", "/v1/domains/roots", roots).status == 201
    status, answer = member.request("PUT", "/v1/domains/roots", roots)
    assert status == 403, answer
    for verb in ("down", "up"):
        status, answer = member.request("POST", f"/v1/host/{verb}")
        assert status == 403, answer


def autostart_words(machine):
    """When a domain is started with the host is kept, and shown."""
    m = machine()
    cloister = Cloister(m)
    cloister.define("one")
    cloister("autostart", "one", "on", "--order", "7", "--delay", "2")
    assert cloister.said == "cloister: one: autostart on, order 7, delay 2 s\n", cloister.said
    cloister("autostart", "one", "last")
    m.restart()
    one = m.get("/v1/domains/one")
    assert (one["autostart"], one["order"], one["delay_seconds"]) == ("last", 7, 2), one
    assert re.search(rb"^autostart +last$", cloister("info", "one"), re.M)
    cloister("autostart", "one", "never", status=WRONG)
    for option, most, values in (("order", 2**32 - 1, ("-1", "4294967296", "x")), ("delay", 3600, ("3601", "-1", "1e3"))):
        for value in values:
            cloister("autostart", "one", "on", f"--{option}", value, status=WRONG)
            assert f"--{option}: '{value}': expected a whole number from 0 to {most}" in cloister.said, cloister.said
    for words, option, least, most in ((("epc-set", "one", "--min"), "--min", 1, 2**32 - 1), (("epc-set", "one", "--weight"), "--weight", 1, 10_000),
                                       (("epc-target", "one"), "MIB", 0, 2**32 - 1), (("top", "-n"), "--iterations", 0, 2**32 - 1)):
        cloister(*words, "1e3", status=WRONG)
        assert f"{option}: '1e3': expected a whole number from {least} to {most}" in cloister.said, cloister.said
    for words in ((), ("--json",)):
        cloister("epc-set", "one", *words, status=WRONG)
        assert "expected --min, --weight, or both" in cloister.said, cloister.said
    # The nothing of a shell's variable that is not set, which is not all there are.
    for words, expected in ((("destroy", ""), "a domain"), (("info", ""), "a domain"), (("keys", "erase", ""), "a key")):
        cloister(*words, status=WRONG)
        assert f"found nothing, expected {expected}" in cloister.said, cloister.said
    for body in ({"autostart": "never"}, {"order": -1}, {"delay_seconds": "1"}, {"delay_seconds": 3601}, {}, {"state": "on"}):
        assert m.request("PATCH", "/v1/domains/one", body).status == 400, body
    cloister("autostart", "one", "last", "--order", str(2**32 - 1), "--delay", "3600")
    assert b"to be started: none" in cloister("host")


def vanished_run(machine):
    """The run folder is removed below domains that are to be started with the host, as logind does it at logout: this is
    no new start of the host, so that none is started a second time, nor one that its user has ended."""
    m = machine(ONE_PACKAGE)
    cloister = Cloister(m)
    for name, word in {"on": "on", "last": "last", "ended": "on", "never": "off"}.items():
        cloister.define(name)
        cloister("autostart", name, word)
        if name != "never":
            cloister("start", name)
            m.wait_for_ready(name)
    cloister("destroy", "ended")
    before = {name: domain["pid"] for name, domain in m.domains().items()}
    m.kill()
    shutil.rmtree(m.run)
    m.start()
    assert b"to be started: none" in cloister("host")
    found = m.domains()
    assert {name: domain["pid"] for name, domain in found.items()} == before == {name: before[name] for name in ("on", "last")}
    assert {domain["state"] for domain in found.values()} == {"unresponsive"}, found
    for name in before:
        cloister("start", name, status=FAILED)
    assert sorted(m.vmms()) == sorted(before.values())
    for pid in before.values():
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: m.domains() == {}, "the end of both")
    assert {row[1] + row[2] for row in cloister.listed().values()} == {"shutoff"} and m.vmms() == []
    cloister("start", "on")
    m.wait_for_ready("on")


def host_down(machine):
    """`host-down` ends all domains: those of the highest order first, by their power buttons, also when the daemon is
    killed meanwhile; `host-up` forgets it."""
    m = machine()
    cloister = Cloister(m)

    def ready(name, order=None, **more):
        text = domain_config(name, m.kernel("ends"), epc=0, **more)
        if order is None:
            cloister("create", cloister.file(name, text))
        else:
            cloister("create", "--persist", cloister.file(name, text))
            cloister("autostart", name, "last", "--order", str(order))
        m.wait_for_ready(name)

    ready("listens", 9, shutdown_timeout=3600)
    says(m, "listens", b"b", b"LISTENS")
    ready("deaf", 5, shutdown_timeout=1)
    ready("patient", 3, shutdown_timeout=3600)
    ready("at-once", 1, on_host_shutdown='"destroy"', shutdown_timeout=3600)
    ready("transient", shutdown_timeout=1)
    down = subprocess.Popen(cloister.command("host-down"), stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    wait_until(lambda: b"BUTTON" in m.console("patient"), "the third's power button")
    m.restart()
    press(m, "patient", b"o")
    _, said = down.communicate(timeout=4 * PATIENCE)
    assert down.returncode == 0 and m.domains() == {} and m.vmms() == [], said
    ended = re.findall(r"cloister: (\S+) has ended, (\d) of 5 stopped\n", said)
    assert ended == [(name, str(i)) for i, name in enumerate(("listens", "deaf", "patient", "at-once", "transient"), 1)], said
    assert said.endswith("cloister: no domain runs\n"), said
    assert {name: row[:3] for name, row in cloister.listed().items()} == \
        dict.fromkeys(("listens", "deaf", "patient", "at-once"), ["-", "shut", "off"])
    assert "ending=powered-off" in [line for line in m.log.read_text().splitlines() if "domain-ended domain=listens" in line][-1]
    # One whose process does not answer is ended when its time is over, and is nobody else's trouble.
    cloister("host-up")
    for name, order in (("hangs", 2), ("ends", 1)):
        ready(name, order, shutdown_timeout=1)
    stop(m.get("/v1/domains/hangs")["pid"])
    cloister("host-down")
    assert "hangs has ended, 1 of 2 stopped" in cloister.said and "does not answer" not in cloister.said, cloister.said
    assert m.domains() == {}
    # With nothing to end it has nothing to say but that.
    cloister("host-down")
    assert cloister.said == "cloister: no domain runs\n", cloister.said
    # Nothing starts behind its back, whoever asks.
    m.restart()
    for words in (("start", "at-once"), ("create", cloister.file("new", domain_config("new", m.kernel("ends"), epc=0)))):
        cloister(*words, status=FAILED)
        assert "the host goes down" in cloister.said, cloister.said
    assert b"the host goes down, none is started" in cloister("host")
    cloister("host-up")
    cloister("start", "at-once")


CASES = {
    "persist-life": life, "persist-create": persist, "persist-text": text_kept, "persist-edit": edited, "persist-tags": tags,
    "persist-uuids": uuids, "persist-owners": owners, "persist-autostart": autostart_words, "persist-host-down": host_down,
    "persist-vanished-run": vanished_run,
}
