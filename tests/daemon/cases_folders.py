"""Whose folders a daemon takes, and what it removes in them: nothing but its own."""

import contextlib
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import unittest
from pathlib import Path

from machine import PATIENCE, wait_until

NOBODY = 65534


def refused(m, words, *options):
    """A daemon with the machine's folders must not start, and say why."""
    done = subprocess.run([*m.command(), *options], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 1, done
    for word in words:
        assert word in done.stderr, (word, done.stderr)


def tree(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def place(m, name):
    """A folder beside the machine's own."""
    folder = m.state.parent / name
    folder.mkdir()
    return folder


def strangers(machine):
    """A run folder with others' files: through a link, in a folder that anybody may write, and of one's own. None is
    removed, and no mode is changed."""
    m = machine()
    m.kill()
    home = place(m, "home")
    for name in ("letters/a", "letters/b", "1/control.sock", "2/keep"):
        (home / name).parent.mkdir(exist_ok=True)
        (home / name).write_text("mine")
    before = tree(home)
    first = m.run

    # Another user's way: a folder that all may write, with a link in it.
    m.run = place(m, "shared")
    (m.run / "domains").symlink_to(home)
    m.run.chmod(0o777)
    refused(m, ["shared", "mode 777"])
    m.run.chmod(0o755)
    refused(m, ["shared/domains: not a folder, or a link"])
    assert tree(home) == before and m.run.stat().st_mode & 0o7777 == 0o755

    # A folder of one's own, by mistake.
    m.run = place(m, "run-of-files")
    shutil.copytree(home, m.run / "domains")
    (m.run / "domains/letters").chmod(0o755)
    (m.run / "domains").chmod(0o755)
    m.start()
    assert tree(m.run / "domains") == before, tree(m.run / "domains")
    assert (m.run / "domains").stat().st_mode & 0o7777 == 0o755
    log = m.log.read_text()
    assert "event=file-unknown file=" in log and "event=sockets-left" in log, log
    assert m.create("one")["id"] == 3, "numbers of folders that stay are not given"
    m.destroy("one")
    assert tree(m.run / "domains") == before
    m.kill()
    m.run = first
    m.start()


def leftovers(machine):
    """What a dead domain left goes; a socket on which somebody listens, and what else is there, stays."""
    m = machine()
    m.kill()
    folders = {name: m.run / "domains" / name for name in ("5", "6", "7")}
    listeners = []
    for name, folder in folders.items():
        folder.mkdir()
        for kind, file in ((socket.SOCK_SEQPACKET, "control.sock"), (socket.SOCK_STREAM, "console.sock")):
            listener = socket.socket(socket.AF_UNIX, kind)
            listener.bind(str(folder / file))
            listener.listen()
            if name == "6":
                listeners.append(listener)
            else:
                listener.close()
    (folders["7"] / "notes").write_text("mine")
    whose = NOBODY if os.geteuid() == 0 else os.geteuid()
    for folder in folders.values():  # as root gives it to a domain's owner
        os.chown(folder / "console.sock", whose, -1)
    m.start()
    assert not folders["5"].exists()
    assert tree(folders["6"]) == ["console.sock", "control.sock"]
    assert (folders["6"] / "console.sock").stat().st_uid == whose
    assert tree(folders["7"]) == ["console.sock", "control.sock", "notes"]
    for listener in listeners:
        listener.close()
    (folders["7"] / "notes").unlink()
    m.restart()
    m.check_settled([])


def foreign(machine):
    """Folders of other users, and below folders of other users: refused, for state and run."""
    if os.geteuid() != 0:
        return
    m = machine()
    m.kill()
    theirs = place(m, "theirs")
    os.chown(theirs, NOBODY, NOBODY)
    for key in ("run", "state"):
        before = getattr(m, key)
        setattr(m, key, theirs)
        refused(m, ["theirs: it is user 65534's, expected user 0's"])
        setattr(m, key, theirs / "below")
        refused(m, ["theirs: it is user 65534's, expected root's"])
        setattr(m, key, before)
    assert tree(theirs) == []
    # An ordinary user who swaps a parent: not even a link of theirs is followed.
    link = m.state.parent / "link"
    link.symlink_to(m.run)
    os.lchown(link, NOBODY, NOBODY)
    before, m.run = m.run, link
    refused(m, ["link: a link that user 65534 made"])
    m.run = before
    m.start()
    # Nor does a client talk to whoever listens in another user's folder, in whatever way it gets its name.
    impostor = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    impostor.bind(str(theirs / "cloisterd.sock"))
    impostor.listen()
    impostor.setblocking(False)
    for words, environment in ((["--run", str(theirs)], {}), ([], {"CLOISTER_RUN": str(theirs)})):
        client = subprocess.run([m.settings.programs / "cloister", *words, "list"], env=environment, capture_output=True,
                                text=True, timeout=PATIENCE)
        assert client.returncode == 1 and "theirs: it is user 65534's, expected root's" in client.stderr, client
    with contextlib.suppress(BlockingIOError):
        raise AssertionError(f"a client came: {impostor.accept()}")


def two_daemons(machine):
    """A second daemon on the same state is refused, whatever its run folder, and touches nothing."""
    m = machine()
    one = m.create("one", epc=2)
    m.wait_for_ready("one")
    first, records = m.run, tree(m.state)
    m.run = m.run.with_name("run2")
    refused(m, ["state/cloisterd.lock: another cloisterd runs here"])
    m.run = first
    assert tree(m.state) == records and m.domains()["one"]["pid"] == one["pid"]
    m.check_settled(["one"])


def long_run(machine):
    """A run folder with a path that no socket's address has room for, and more than nine domains."""
    m = machine('[[package]]\nepc = [{ base = 0x1_0000_0000, size = 16 }]\n')
    m.kill()
    first = m.run
    m.run = place(m, "a" * 100) / ("b" * 100)
    m.start()

    # The test's own connections go by a short name.
    short = m.state.parent / "r"
    short.symlink_to(m.run)
    whole, m.run = m.run, short

    def cloister(*words):
        command = [m.settings.programs / "cloister", "--run", whole, *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, stdin=subprocess.DEVNULL)
        assert done.returncode == 0, done
        return done.stdout

    for number in range(1, 12):
        m.create(f"d{number}")
    assert len(json.loads(cloister("list", "--json"))) == 11
    m.wait_for_ready("d11")
    assert "READY" in cloister("dmesg", "d11")
    process = subprocess.Popen([m.settings.programs / "cloister", "--run", whole, "console", "d11"],
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    assert process.stdout.read(5) == b"READY"
    process.kill()
    process.wait()
    m.run = whole
    m.kill()
    m.start()
    m.run = short
    assert {d["state"] for d in m.domains().values()} == {"running"}
    for number in range(1, 12):
        m.destroy(f"d{number}")
    assert os.listdir(whole / "domains") == []
    m.run = whole
    m.kill()
    m.run = first
    m.start()


def defaults(machine):
    """An ordinary user's daemon and client find each other without a word about folders."""
    if os.geteuid() != 0:
        return
    m = machine()
    home = place(m, "home")
    session = place(m, "session")
    for folder in (home, session):
        os.chown(folder, NOBODY, NOBODY)
        folder.chmod(0o700)
    m.state.parent.chmod(0o755)
    m.state.parent.parent.chmod(0o755)
    of_the_kernel = Path(f"/run/user/{NOBODY}")
    of_the_kernel.mkdir(parents=True)
    os.chown(of_the_kernel, NOBODY, NOBODY)
    try:
        for extra, run in (({"XDG_RUNTIME_DIR": str(session)}, session / "cloister"),
                           ({}, home / ".local/state/cloisterd/run"),
                           ({"XDG_RUNTIME_DIR": str(of_the_kernel)}, of_the_kernel / "cloister")):
            default(m, home, extra, run, session)
    finally:
        shutil.rmtree(of_the_kernel)


def default(m, home, extra, run, session):
    environment = {"HOME": str(home), "PATH": os.environ["PATH"], **extra}

    def start(program, *words, env=environment, **more):
        return subprocess.Popen([m.settings.programs / program, *words], env=env, user=NOBODY, group=NOBODY,
                                extra_groups=[], stdin=subprocess.DEVNULL, text=True, **more)

    daemon = start("cloisterd", stderr=subprocess.PIPE)
    try:
        wait_until(lambda: (run / "cloisterd.sock").exists() or daemon.poll() is not None, "the socket")
        assert daemon.poll() is None, daemon.stderr.read()
        client = start("cloister", "list", "--json", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        out, err = client.communicate(timeout=PATIENCE)
        assert client.returncode == 0 and json.loads(out) == [], (out, err)
        refused = subprocess.run([m.settings.programs / "cloister", "--run", run, "list"], capture_output=True, text=True)
        assert refused.returncode == 1 and "runuser -u USER" in refused.stderr, refused
        if run.is_relative_to(home):  # beside what a daemon has left that died
            left = session / "cloister/cloisterd.sock"
            left.unlink(missing_ok=True)
            with socket.socket(socket.AF_UNIX) as dead:
                dead.bind(str(left))
            os.chown(left, NOBODY, NOBODY)
            client = start("cloister", "list", "--json", env={**environment, "XDG_RUNTIME_DIR": str(session)}, stdout=subprocess.PIPE)
            out, _ = client.communicate(timeout=PATIENCE)
            assert client.returncode == 0 and json.loads(out) == [], out
        if run.is_relative_to("/run"):  # as after su: nothing says where the session is
            client = start("cloister", "list", "--json", env={**environment, "XDG_RUNTIME_DIR": ""}, stdout=subprocess.PIPE)
            out, _ = client.communicate(timeout=PATIENCE)
            assert client.returncode == 0 and json.loads(out) == [], out
    finally:
        daemon.terminate()
        daemon.communicate(timeout=PATIENCE)
    assert (home / ".local/state/cloisterd/platform-secret").stat().st_uid == NOBODY
    if run.is_relative_to(home):  # nobody listens: what is said is of the first
        client = start("cloister", "list", env={**environment, "XDG_RUNTIME_DIR": str(session)}, stderr=subprocess.PIPE)
        _, err = client.communicate(timeout=PATIENCE)
        assert client.returncode == 1 and str(left) in err, err


def few_threads(machine):
    """Whatever number of threads the host gives a daemon, it serves, or says that there are none and ends."""
    if os.geteuid() != 0:
        return  # one's own limit counts what else one's user runs
    m = machine()
    user = 54398
    folder = place(m, "few")
    os.chown(folder, user, user)
    folder.chmod(0o700)
    m.state.parent.chmod(0o755)
    m.state.parent.parent.chmod(0o755)
    outcomes = set()
    for limit in range(1, 24, 2):
        m.state, m.run, log = folder / "state", folder / "run", m.state.parent / f"few-{limit}.log"
        with open(log, "wb") as out:
            daemon = subprocess.Popen(m.command(), user=user, group=user, extra_groups=[], stdin=subprocess.DEVNULL, stderr=out,
                                      preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NPROC, (limit, limit)))
        try:
            wait_until(lambda: b"event=ready" in log.read_bytes() or daemon.poll() is not None, "cloisterd")
            if daemon.poll() is None:
                assert m.get("/v1/domains") == []
                outcomes.add("enough")
        finally:
            daemon.terminate()
            status = daemon.wait(PATIENCE)
        if status != 0:
            assert status == 1 and "no thread can be started" in log.read_text(), (limit, status, log.read_text())
            outcomes.add("none")
    assert outcomes == {"none", "enough"}, outcomes


def fill(folder):
    """Until there is room for nothing in the file system of the folder."""
    filler = folder / "filler"
    filler.mkdir()
    with contextlib.suppress(OSError):
        for number in range(1 << 20):
            (filler / str(number)).touch()
    with contextlib.suppress(OSError), open(filler / "0", "ab", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    return filler


def full_disk(machine):
    """Without room for another file in the run folder or the state folder, what is asked for fails with the reason and
    leaves nothing behind; what is there lives on, and is found again."""
    for which in ("run", "state"):
        m = machine("[[package]]\nepc = [{ base = 0x1_0000_0000, size = 4 }]\n")
        m.kill(signal.SIGTERM)
        disk = place(m, "disk")
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k,nr_inodes=64,mode=755", "none", str(disk)],
                                 capture_output=True, text=True)
        if mounted.returncode != 0:
            raise unittest.SkipTest(f"no small file system can be mounted here: {mounted.stderr.strip()}")
        try:
            before = getattr(m, which)
            setattr(m, which, disk)
            m.start()
            one = m.create("one", epc=2)
            m.wait_for_ready("one")
            filler = fill(disk)
            files = tree(disk)
            for _ in range(3):
                answer = m.request("POST", "/v1/domains", m.creation("two"))
                assert answer.status == 500 and "No space left" in answer.json["error"]["message"], answer.body
                assert set(m.domains()) == {"one"} and m.vmms() == [one["pid"]], m.domains()
                assert m.check_accounts()["granted_pages"] == 512 and tree(disk) == files
            if which == "state":
                answer = m.request("PATCH", "/v1/domains/one", {"name": "three"})
                assert answer.status == 500 and "No space left" in answer.json["error"]["message"], answer.body
            m.restart()
            found = m.domains()["one"]
            assert (found["pid"], found["epc"], found["state"]) == (one["pid"], one["epc"], "running"), found
            # An end needs no room.
            m.destroy("one")
            assert m.domains() == {} and m.vmms() == []
            shutil.rmtree(filler)
            m.create("two", epc=4)
            m.check_settled(["two"])
            m.destroy("two")
            m.kill(signal.SIGTERM)
            setattr(m, which, before)
        finally:
            m.close()
            subprocess.run(["umount", "-l", str(disk)], check=True)
        m.start()


def stray_files(machine):
    """Files that are no records, and records that cannot be understood, are named; the others' domains go on."""
    m = machine('[[package]]\nepc = [{ base = 0x1_0000_0000, size = 4 }]\n')
    good, damaged, lost = m.create("good"), m.create("damaged"), m.create("lost")
    for name in ("good", "damaged", "lost"):
        m.wait_for_ready(name)
    text = m.creation("kept", epc=0)["config"]
    assert m.request("PUT", "/v1/domains/kept", {"config": text, "file": "kept.cfg"}).status == 201
    m.kill()
    (kept,) = (m.state / "definitions").iterdir()
    definition = json.loads(kept.read_text())
    twin, other = kept.with_name(f"ffffffff{kept.name[8:]}"), kept.with_name(f"fffffffe{kept.name[8:]}")
    twin.write_text(json.dumps({**definition, "uuid": twin.stem}))
    other.write_text(json.dumps({**definition, "uuid": other.stem, "name": "other"}))
    records = m.state / "domains"
    damaged_file, lost_file = records / f"{damaged['id']}.json", records / f"{lost['id']}.json"
    record = json.loads(damaged_file.read_text())
    del record["package"]
    damaged_file.write_text(json.dumps(record))
    lost_file.write_text("{")
    (records / "notes.txt").write_text("mine")
    (records / "letter.new").write_text("mine")
    (records / "77.json").write_text("{")  # nobody lives
    (records / "78.json.new").write_text("{")  # was being written
    check = subprocess.run([*m.command(), "--check"], capture_output=True, text=True, timeout=PATIENCE)
    before = tree(m.state)
    assert check.returncode == 1 and f"wrong {damaged_file}: 'package' is missing" in check.stdout, check
    assert f"note  {records}/notes.txt: no domain's record" in check.stdout, check.stdout
    assert f"wrong {twin}: its name is that of {kept.stem}: it would be set aside" in check.stdout, check.stdout
    assert f"wrong {other}: its text has the name 'kept': it would be set aside" in check.stdout, check.stdout
    assert f"ok    {kept}: 'kept', autostart off" in check.stdout, check.stdout
    assert tree(m.state) == before

    m.start()
    assert [path.exists() for path in (kept, twin, other)] == [True, False, False]
    assert [(m.state / "set-aside" / path.name).exists() for path in (twin, other)] == [True, True]
    # A process of another daemon's that begins at that moment might be the one of 77.
    wait_until(lambda: set(m.domains()) == {"good", "damaged", f"record-{lost['id']}"}, "those that live alone")
    found = m.domains()
    assert found["good"]["state"] == "running" and found["damaged"]["epc"] == damaged["epc"], found
    assert (m.state / "set-aside/77.json").read_text() == "{"
    assert (records / "notes.txt").read_text() == (records / "letter.new").read_text() == "mine"
    assert not (records / "78.json.new").exists()
    log = m.log.read_text()
    for word in ("event=file-unknown", "notes.txt", "letter.new", "event=record-unread", "event=record-set-aside"):
        assert word in log, word
    # As long as the frames of one are unknown nobody gets any.
    answer = m.request("POST", "/v1/domains", m.creation("more"))
    assert answer.status == 503 and f"{lost['id']}.json" in answer.json["error"]["message"], answer.body
    m.create("without", epc=0)
    m.destroy(str(lost["id"]))
    assert (m.state / f"set-aside/{lost['id']}.json").read_text() == "{"
    m.create("more")
    m.restart()
    assert set(m.domains()) == {"good", "damaged", "without", "more"}
    assert m.request("PATCH", "/v1/domains/damaged", {"name": "other"}).status == 409
    m.destroy("damaged")
    assert (m.state / f"set-aside/{damaged['id']}.json").exists()
    m.check_accounts()


def machine_record(machine):
    """Without knowing which frames are withdrawn no domain is created, and the record stays as it is. Frames that the
    machine does not have are named."""
    m = machine()
    m.create("one")
    m.kill()
    path = m.state / "machine.json"
    whole = path.read_text()
    path.write_text("{")
    m.start()
    assert set(m.domains()) == {"one"}
    answer = m.request("POST", "/v1/domains", m.creation("two", epc=0))
    assert answer.status == 503 and "machine.json" in answer.json["error"]["message"], answer.body
    m.destroy("one")
    assert path.read_text() == "{"
    m.kill()
    path.write_text(json.dumps({**json.loads(whole), "withdrawn": [1, 0x100000, 0x100000]}))
    check = subprocess.run([*m.command(), "--check"], capture_output=True, text=True, timeout=PATIENCE)
    assert check.returncode == 0 and check.stdout.count("note") == 1, check
    assert f"note  {path}: 'withdrawn': this machine has no frame 1 of EPC" in check.stdout, check
    assert f"ok    {path}: 1 frames are withdrawn" in check.stdout, check
    path.write_text(whole)
    m.start()
    m.create("two")


def same_folders(machine):
    """State and run folder are apart, or the one is beside what the daemon keeps in the other; what is nobody's record
    does not make a state folder a used one."""
    m = machine()
    m.kill()
    state, run = m.state, m.run
    before = tree(state.parent)
    link = place(m, "links") / "state"
    link.symlink_to(state)
    for one, other, words in (
        (state, state, "state: the state folder and the run folder must not be the same"),
        (state, link, "links/state: the state folder and the run folder must not be the same"),
        (state, state / "domains", f"the run folder must not lie in {state}/domains, which has domains' records"),
        (state, state / "set-aside/run", f"the run folder must not lie in {state}/set-aside"),
        (run / "domains/state", run, f"the state folder must not lie in {run}/domains, which has domains' sockets"),
    ):
        m.state, m.run = one, other
        refused(m, [words])
        refused(m, [words], "--check")
    link.unlink()
    link.parent.rmdir()
    assert tree(state.parent) == before
    # An ordinary user's daemon has it so.
    m.state = place(m, "fresh")
    m.state.chmod(0o700)
    (m.state / "domains").mkdir(0o700)
    (m.state / "domains/notes.txt").write_text("mine")
    m.run = m.state / "run"
    m.start()
    assert (m.state / "platform-secret").exists()
    m.create("one")
    m.destroy("one")
    m.kill()
    m.state, m.run = state, run
    m.start()


def secret(machine):
    """A secret that is missing beside records is not made anew unless that is asked for."""
    m = machine()
    m.create("one")
    m.kill()
    path = m.state / "platform-secret"
    kept = path.read_bytes()
    refused(m, ["platform-secret: it is there"], "--new-secret")
    path.unlink()
    refused(m, ["platform-secret: it is missing", "--new-secret"])
    assert not path.exists()
    process = subprocess.Popen([*m.command(), "--new-secret"], stderr=subprocess.DEVNULL)
    wait_until(lambda: path.exists() and len(path.read_bytes()) == len(kept), "a new secret")
    process.kill()
    process.wait()
    assert path.read_bytes() != kept
    path.write_bytes(kept)
    m.start()
    assert set(m.domains()) == {"one"}
    # The secret that keys are wrapped with is missed by keys alone.
    m.kill()
    wrap = m.state / "wrap-secret"
    assert wrap.stat().st_mode & 0o777 == 0o600 and wrap.read_bytes() != kept
    kept = wrap.read_bytes()
    wrap.unlink()
    refused(m, ["wrap-secret: it is missing", "--new-secret"])
    wrap.write_bytes(kept)
    wrap.chmod(0o600)
    m.start()
    key = f"{m.domains()['one']['uuid']}.json"
    assert os.listdir(m.state / "keys") == [key]
    # What nobody can decrypt any more is set aside, and the domain goes on.
    m.kill()
    wrap.unlink()
    process = subprocess.Popen([*m.command(), "--new-secret"], stderr=subprocess.DEVNULL)
    wait_until(lambda: wrap.exists() and len(wrap.read_bytes()) == len(kept), "a new secret")
    process.kill()
    process.wait()
    assert wrap.read_bytes() != kept and (m.state / "set-aside" / key).exists() and os.listdir(m.state / "keys") == []
    m.start()
    assert m.domains()["one"]["state"] == "running"


CASES = {"full-disk": full_disk, "strangers": strangers, "leftovers": leftovers, "foreign": foreign, "two-daemons": two_daemons,
         "long-run": long_run, "defaults": defaults, "stray-files": stray_files, "machine-record": machine_record,
         "secret": secret, "same-folders": same_folders, "few-threads": few_threads}
