"""Two of the six processes of a move die, one after the other, each before a step of it: the domain runs at one daemon, or
nowhere as its own process was killed, or stands still and says so; and never at two.

The steps are those that a move takes that nobody disturbs: its carriers' messages in their order, a row of pieces being one.
So a step that the protocol gets is one more here. All ordered pairs are some thousands; without CLOISTER_FULL it is a sample,
which follows from a seed (CLOISTER_SEED)."""

import contextlib
import os
import random
import socket
import subprocess

from cases_live_enclaves import KINDS, Peers, goes_on, keys_of
from cases_migration import ANSWER, COMMIT, DONE, OFFER, PIECE, READY, VERDICT, Way, attempt, is_settled
from machine import PATIENCE, kill_pid, wait_until

RESOLVE, PROOF = 9, 10
NAMES = {OFFER: "offer", ANSWER: "answer", PIECE: "piece", READY: "ready", COMMIT: "commit", VERDICT: "verdict", DONE: "done",
         PROOF: "proof", RESOLVE: "resolve"}
# Of the second death alone, if its step did not come: the move is over; or somebody asks what became of it.
AFTER = ["after", "resolve", "resolve's verdict", "resolve's done"]
WHO = ("source", "receiver", "daemon here", "daemon there", "process here", "process there")
SAMPLE = 60


class Steps:
    """Names a move's messages as they come; the same kind again, after another one, is another step."""

    def __init__(self, asked=False):
        self.last, self.seen, self.all, self.asked = None, {}, [], asked

    def __call__(self, kind, body):
        what = (kind, kind == PIECE and not body)
        if what == self.last and kind == PIECE:
            return self.all[-1]
        self.last = what
        word = ("last " if what[1] else "") + NAMES.get(kind, str(kind))
        self.seen[word] = self.seen.get(word, 0) + 1
        name = word if self.seen[word] == 1 else f"{word} {self.seen[word]}"
        if self.asked and kind != RESOLVE:
            name = f"resolve's {name}"
        self.all.append(name)
        return name


class Deaths:
    """What is to die, in its order, as (step, who); one at a time."""

    def __init__(self, pair, due):
        self.pair, self.due, self.killed = pair, list(due), set()
        self.died = []

    def vmm(self, m):
        domain = m.domains().get("web")
        if domain and domain["pid"]:
            if kill_pid(domain["pid"]):
                self.killed.add(domain["pid"])
                return True
        return False

    def at(self, step):
        while self.due and self.due[0][0] == step:
            _, who = self.due.pop(0)
            pair = self.pair
            found = {
                "source": lambda: pair.source.kill(),
                "receiver": lambda: pair.receiver.kill(),
                "daemon here": lambda: pair.a.restart(),
                "daemon there": lambda: pair.b.restart(),
                "process here": lambda: self.vmm(pair.a),
                "process there": lambda: self.vmm(pair.b),
            }[who]()
            if found is not False:
                self.died.append(who)

    def seen(self):
        """Nobody takes one for alive that was killed."""
        wait_until(lambda: all(domain["pid"] not in self.killed for m in (self.pair.a, self.pair.b)
                               for domain in m.domains().values()), "the end of a process that was killed")

    def watch(self, steps):
        def before(kind, body):
            self.at(steps(kind, body))
            return True

        return Way(self.pair, before)


def quiet(pair):
    for m in (pair.a, pair.b):
        wait_until(lambda: is_settled(m), "quiet")


def ask(pair, way):
    """`--resolve`, as attempt() moves."""
    pair.receiver = pair.receive()
    pair.source = subprocess.Popen(pair.cloister.command("migrate", "web", f"unix:{way.path}", "--resolve"),
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    said, _ = pair.source.communicate(timeout=4 * PATIENCE)
    pair.said += said.decode()
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as end:
        end.connect(str(way.path))  # of a source that did not come as far as the way
    way.finish()
    if pair.receiver.poll() is None:
        pair.receiver.kill()
    pair.receiver.communicate(timeout=4 * PATIENCE)


def one(pair, first, second):
    pair.ready(**KINDS[1])
    deaths = Deaths(pair, (first, second))
    attempt(pair, deaths.watch(Steps()))
    if deaths.due and deaths.due[0][0] not in AFTER:  # its step did not come any more
        deaths.due[0] = ("after", deaths.due[0][1])
    deaths.at("after")
    deaths.seen()
    quiet(pair)
    for _ in range(3):
        if pair.lives(pair.a) != "in-doubt":
            break
        ask(pair, deaths.watch(Steps(asked=True)))
        deaths.seen()
        quiet(pair)
    states = [pair.lives(m) for m in (pair.a, pair.b)]
    story = (first, second, deaths.died, states, pair.said, pair.a.log.read_text()[-3000:], pair.b.log.read_text()[-3000:])
    runs = [m for m in (pair.a, pair.b) if pair.lives(m) == "running"]
    assert len(runs) <= 1, story
    assert set(states) <= {None, "running"}, story
    assert runs or any(who.startswith("process") for who in deaths.died), story
    for m in runs:
        goes_on(m)
        m.destroy("web")
    for m in (pair.a, pair.b):
        m.check_settled([])
    for cloister in (pair.cloister, pair.other):
        for word in keys_of(cloister).split():
            if word.count("-") == 4:
                cloister("keys", "erase", word)


def pairs(machine):
    pair = Peers(machine)
    pair.ready(**KINDS[1])
    steps = Steps()
    whole = Way(pair, lambda kind, body: steps(kind, body) is not None)
    assert attempt(pair, whole) == 0, pair.said
    pair.b.destroy("web")
    pair.other("keys", "erase", next(word for word in keys_of(pair.other).split() if word.count("-") == 4))
    names = list(dict.fromkeys(steps.all))
    print("steps:", ", ".join(names), flush=True)
    firsts = [(step, who) for step in names for who in WHO]
    all_pairs = [(first, (step, who)) for first in firsts for step in names[names.index(first[0]):] + AFTER for who in WHO
                 if (step, who) != first]
    seed = int(os.environ.get("CLOISTER_SEED", "15"))
    chosen = random.Random(seed).sample(all_pairs, len(all_pairs) if pair.a.settings.full else SAMPLE)
    print(f"{len(chosen)} of {len(all_pairs)} pairs, seed {seed}", flush=True)
    for number, (first, second) in enumerate(chosen):
        one(pair, first, second)
        if number % 100 == 99:
            print(number + 1, "pairs", flush=True)


CASES = {"migrate-pairs": pairs}
