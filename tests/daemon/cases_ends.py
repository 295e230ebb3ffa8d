"""How guests end, and what becomes of their domains: halt, panic, SIGTERM, and what `preserve` keeps."""

import datetime
import os
import re
import resource
import signal
import socket
import subprocess

from machine import PATIENCE, domain_config, wait_until


def ready(m, name, **more):
    m.create(name, kernel="ends", epc=0, **more)
    m.wait_for_ready(name)


def press(m, name, key):
    """Types a key, and waits until the guest has taken it."""
    echo = b"<" + key + b">"
    before = m.console(name).count(echo)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as console:
        console.settimeout(PATIENCE)
        console.connect(m.domains()[name]["console"])
        console.sendall(key)
        seen = b""
        while seen.count(echo) <= before:
            chunk = console.recv(4096)
            assert chunk, f"the console of {name} was closed after {seen}"
            seen += chunk


def says(m, name, key, answer):
    """Types a key, and waits until the guest has answered."""
    press(m, name, key)
    wait_until(lambda: answer in m.console(name), f"{answer} of {name}")


def ends(m, name, how):
    wait_until(lambda: name not in m.domains(), f"the end of {name}")
    line = [line for line in m.log.read_text().splitlines() if f"event=domain-ended domain={name} " in line][-1]
    assert f" ending={how}" in line, line
    return line


def own_ways(machine):
    """Halt is no crash, and a kernel's panic is one. The actions apply to both."""
    m = machine()
    for name, key, how in (("halts", b"h", "halted"), ("panics", b"p", "crashed"), ("off", b"o", "powered-off")):
        ready(m, name)
        press(m, name, key)
        line = ends(m, name, how)
        assert ("its kernel panicked" in line) == (how == "crashed"), line
    m.check_settled([])
    ready(m, "again", on_poweroff='"restart"', on_crash='"restart"')
    for restarts, key in enumerate((b"h", b"p"), 1):
        press(m, "again", key)
        wait_until(lambda: m.domains()["again"]["restarts"] == restarts, "the restart")
        wait_until(lambda: m.console("again").count(b"READY") == restarts + 1, "READY after the restart")
    # A crash kernel is the guest's own affair.
    says(m, "again", b"k", b"GOES ON")
    assert m.domains()["again"]["state"] == "running"
    note = r'event=guest-note domain=again .*note="its kernel panicked, and goes on'
    wait_until(lambda: re.search(note, m.log.read_text()), "the note of the panic")
    m.destroy("again")
    m.check_settled([])


def preserve(machine):
    """A preserved domain has the state of its guest's end, and is rebooted or ended by its user."""
    m = machine()
    for key, state in ((b"h", "halted"), (b"p", "crashed"), (b"o", "halted")):
        ready(m, "kept", on_poweroff='"preserve"', on_crash='"preserve"')
        press(m, "kept", key)
        wait_until(lambda: m.domains()["kept"]["state"] == state, state)
        for refused in ("pause", "unpause", "shutdown"):
            assert m.request("POST", f"/v1/domains/kept/{refused}").status == 409, refused
        m.restart()
        assert m.domains()["kept"]["state"] == state
        assert f'cloister_domains{{state="{state}"}} 1' in m.request("GET", "/metrics").body.decode()
        assert m.request("POST", "/v1/domains/kept/reboot").status == 200
        wait_until(lambda: m.console("kept").count(b"READY") == 2, "READY after the reboot")
        assert m.domains()["kept"]["state"] == "running"
        press(m, "kept", key)
        wait_until(lambda: m.domains()["kept"]["state"] == state, state)
        m.destroy("kept")
        m.check_settled([])
    # SIGTERM ends what no longer runs.
    ready(m, "kept", on_poweroff='"preserve"')
    press(m, "kept", b"h")
    wait_until(lambda: m.domains()["kept"]["state"] == "halted", "halted")
    os.kill(m.domains()["kept"]["pid"], signal.SIGTERM)
    ends(m, "kept", "halted")  # which its guest had done by then
    m.check_settled([])


def sigterm(machine):
    """SIGTERM to a VMM presses the power button, and waits shutdown_timeout; a second one does not."""
    m = machine()

    def pid(name):
        return m.domains()[name]["pid"]

    # It listens, and its actions have no effect; also when it was paused.
    for paused in (False, True):
        ready(m, "listens", on_poweroff='"restart"', shutdown_timeout=3600)
        says(m, "listens", b"b", b"LISTENS")
        if paused:
            assert m.request("POST", "/v1/domains/listens/pause").status == 200
        os.kill(pid("listens"), signal.SIGTERM)
        ends(m, "listens", "powered-off")
    # It does not: it sees the button, and is ended when its time is over.
    ready(m, "deaf", shutdown_timeout=1)
    os.kill(pid("deaf"), signal.SIGTERM)
    ends(m, "deaf", "stopped")
    # Or when somebody insists.
    ready(m, "deaf", shutdown_timeout=3600)
    os.kill(pid("deaf"), signal.SIGTERM)
    wait_until(lambda: b"BUTTON" in m.console("deaf"), "the power button")
    assert m.domains()["deaf"]["state"] == "shutting_down"
    os.kill(pid("deaf"), signal.SIGTERM)
    ends(m, "deaf", "stopped")
    # One whose guest has not been started ends at once.
    m.create("later", kernel="ends", epc=0, paused=True, shutdown_timeout=3600)
    os.kill(pid("later"), signal.SIGTERM)
    ends(m, "later", "stopped")
    m.check_settled([])


def suspend(machine):
    """A guest that suspends itself to RAM waits for `wake`; it can be ended, started anew, and asked to shut down."""
    m = machine()

    def ask(verb):
        return m.request("POST", f"/v1/domains/one/{verb}").status

    def sleep():
        press(m, "one", b"z")
        wait_until(lambda: m.domains()["one"]["state"] == "suspended", "the guest to sleep")

    def readies(count):
        wait_until(lambda: m.console("one").count(b"READY") == count, f"READY, {count} times")

    ready(m, "one", shutdown_timeout=3600)
    assert ask("wake") == 409
    for nights in (1, 2):
        sleep()
        assert [ask(verb) for verb in ("pause", "unpause", "shutdown", "trigger")] == [409, 409, 409, 400]
        assert ask("wake") == 200
        readies(nights + 1)
        assert m.domains()["one"]["state"] == "running"
    sleep()
    m.restart()
    assert m.domains()["one"]["state"] == "suspended"
    assert ask("reboot") == 200
    readies(4)
    # Asked to shut down it wakes, and hears the button once it listens again.
    sleep()
    assert ask("wake") == 200
    readies(5)
    says(m, "one", b"b", b"LISTENS")
    sleep()
    os.kill(m.domains()["one"]["pid"], signal.SIGTERM)
    ends(m, "one", "powered-off")
    ready(m, "one")
    sleep()
    m.destroy("one")
    m.check_settled([])


class Run:
    """`cloister run` of the payload, with its console on pipes."""

    def __init__(self, m, folder, *options, begins=b"READY", **more):
        config = folder / "run.cfg"
        config.write_text(domain_config("run", m.kernel("ends"), 0, **more))
        command = [m.settings.programs / "cloister", "run", *options, config]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        if begins:
            self.until(begins)

    def until(self, text):
        """Reads lines until one has the text, and returns it."""
        while text not in (line := self.process.stdout.readline()):
            assert line, f"the console ended before {text}: {self.process.stderr.read()}"
        return line

    def type(self, keys):
        self.process.stdin.write(keys)
        self.process.stdin.flush()

    def end(self, status):
        _, errors = self.process.communicate(timeout=PATIENCE)
        assert self.process.returncode == status, (self.process.returncode, errors)
        return errors.decode()


def run(machine):
    """`cloister run` ends as a VMM does, with a status that says how."""
    m = machine()
    folder = m.run.parent
    for key, status, word in ((b"o", 0, "powered off"), (b"h", 0, "halted for good"), (b"p", 3, "its kernel panicked")):
        guest = Run(m, folder)
        guest.type(key)
        assert word in guest.end(status)
    guest = Run(m, folder, on_poweroff='"restart"', shutdown_timeout=3600)
    guest.type(b"b")
    guest.until(b"LISTENS")
    guest.process.send_signal(signal.SIGTERM)
    guest.end(0)
    guest = Run(m, folder, shutdown_timeout=0)
    guest.process.send_signal(signal.SIGTERM)
    guest.end(128 + signal.SIGTERM)
    guest = Run(m, folder, shutdown_timeout=3600)
    guest.process.send_signal(signal.SIGTERM)
    guest.until(b"BUTTON")
    guest.process.send_signal(signal.SIGTERM)
    guest.end(128 + signal.SIGTERM)
    guest = Run(m, folder, on_crash='"preserve"')
    guest.type(b"p")
    while b"is preserved" not in guest.process.stderr.readline():
        pass
    guest.process.send_signal(signal.SIGINT)
    guest.end(3)


def shown(line):
    """The date of a line of the payload's."""
    century, *rest = line.split()[1:8]
    year, month, day, hour, minute, second = (int(word) for word in rest)
    return datetime.datetime(int(century) * 100 + year, month, day, hour, minute, second)


def clock(machine):
    """The clock chip has the host's date, as the configuration wants it; what the guest sets outlives its restarts."""
    m = machine()
    folder = m.run.parent

    def read(guest):
        guest.type(b"d")
        return shown(guest.until(b"CLOCK"))

    def now(zone=datetime.timezone.utc):
        return datetime.datetime.now(zone).replace(tzinfo=None, microsecond=0)

    def near(guest, ahead=0, zone=datetime.timezone.utc):
        """Between a moment before and one after, whatever time that took."""
        before = now(zone)
        date = read(guest) - datetime.timedelta(seconds=ahead)
        assert before - datetime.timedelta(seconds=1) <= date <= now(zone) + datetime.timedelta(seconds=1), (date, before)
        return guest

    near(Run(m, folder)).process.kill()
    near(Run(m, folder, rtc_timeoffset='"-86400"'), ahead=-86400).process.kill()
    os.environ["TZ"] = "CLT-05:30"  # five and a half hours east of Greenwich
    try:
        zone = datetime.timezone(datetime.timedelta(hours=5, minutes=30))
        near(Run(m, folder, localtime=1, rtc_timeoffset=60), ahead=60, zone=zone).process.kill()
    finally:
        del os.environ["TZ"]
    # A fixed date, which two runs read alike.
    dates = []
    for _ in range(2):
        guest = Run(m, folder, "--deterministic")
        dates.append(read(guest))
        guest.process.kill()
    assert all(abs(date - datetime.datetime(2025, 1, 1)) < datetime.timedelta(days=1) for date in dates), dates

    def vmm_date(name):
        answers = m.console(name).count(b"CLOCK")
        press(m, name, b"d")
        wait_until(lambda: m.console(name).count(b"CLOCK") > answers and m.console(name).endswith(b"\n"), "the date")
        return shown([line for line in m.console(name).splitlines() if line.startswith(b"CLOCK")][-1])

    # In the sandbox no file is opened for the time zone.
    ready(m, "set", localtime=1)
    assert abs(vmm_date("set") - now()) < datetime.timedelta(days=1)
    says(m, "set", b"s", b"SET")
    assert vmm_date("set").year in (1999, 2000)
    press(m, "set", b"r")
    wait_until(lambda: m.console("set").count(b"READY") == 2, "READY after the reset")
    date = vmm_date("set")
    assert datetime.timedelta(0) <= date - datetime.datetime(1999, 12, 31, 12) < datetime.timedelta(days=1), date
    m.destroy("set")
    m.check_settled([])


def run_saved(machine):
    """`cloister run --save` and `--restore`: a run that is ended from outside goes on another time."""
    m = machine()
    folder = m.run.parent
    for clock in ((), ("--deterministic",)):
        saved = folder / "saved"
        guest = Run(m, folder, *clock, "--save", saved)
        guest.type(b"s")
        guest.until(b"SET")
        guest.process.send_signal(signal.SIGINT)
        assert "is saved in" in guest.end(0)
        assert saved.stat().st_mode & 0o7777 == 0o600
        for _ in range(2):
            guest = Run(m, folder, *clock, "--restore", saved, begins=None)
            guest.type(b"d")
            assert guest.until(b"CLOCK")
            guest.type(b"o")
            assert "goes on from" in guest.end(0)
        refused = Run(m, folder, *clock, "--save", saved, begins=None)
        assert "File exists" in refused.end(1)

        def is_refused(why, **more):
            assert why in (errors := Run(m, folder, *clock, "--restore", saved, begins=None, **more).end(2)), errors

        is_refused("vCPUs: found 2, expected 1", vcpus=2)
        whole = saved.read_bytes()
        for size in (0, 9, 100, len(whole) - 1):
            saved.write_bytes(whole[:size])
            is_refused(f"byte {size}: the stream ends in")
        saved.write_bytes(whole[:5000] + bytes([whole[5000] ^ 1]) + whole[5001:])
        is_refused("another checksum")
        saved.unlink()
        is_refused("No such file")
        os.mkfifo(saved)
        is_refused("not a regular file")
        saved.unlink()
        for option in ("--save", "--restore"):
            nothing = Run(m, folder, *clock, option, "", begins=None)
            assert "found nothing, expected a file's name" in nothing.end(2)
        # A guest that has ended is not saved, and leaves no file.
        guest = Run(m, folder, *clock, "--save", saved)
        guest.type(b"o")
        guest.end(0)
        assert not saved.exists()
    # While it is saved the file has another name. Whoever ends that has none, and a kill leaves no half of one.
    partial = folder / "saved.partial"

    def being_saved():
        guest = Run(m, folder, "--save", saved, memory=512)
        guest.type(b"f")
        guest.until(b"FILLED")
        guest.process.send_signal(signal.SIGINT)
        wait_until(lambda: partial.stat().st_size > 0, "the beginning of the file")
        assert not saved.exists()
        return guest

    for number in (signal.SIGINT, signal.SIGTERM):
        guest = being_saved()
        guest.process.send_signal(number)
        assert "was not saved: it was stopped meanwhile" in guest.end(1)
        assert not saved.exists() and not partial.exists()
    guest = being_saved()
    guest.process.kill()
    guest.process.wait()
    assert partial.exists() and not saved.exists()
    again = Run(m, folder, "--save", saved, begins=None)
    assert "saved.partial: File exists" in again.end(1)
    partial.unlink()
    # What is full takes nothing more: a file of so much, by its limit.
    guest = Run(m, folder, "--save", saved, memory=512)
    guest.type(b"f")
    guest.until(b"FILLED")
    resource.prlimit(guest.process.pid, resource.RLIMIT_FSIZE, (64 << 20, 64 << 20))
    guest.process.send_signal(signal.SIGINT)
    assert "saved: File too large" in guest.end(1)
    assert not saved.exists() and not partial.exists()


CASES = {"ends-own": own_ways, "ends-preserve": preserve, "ends-sigterm": sigterm, "ends-suspend": suspend, "ends-run": run, "ends-run-saved": run_saved, "ends-clock": clock}
