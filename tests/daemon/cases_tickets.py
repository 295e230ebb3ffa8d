"""Tickets of saved domains: who sees them, who erases them, how many there may be; and domains that are saved before they run."""

import json
import os

from cases_live_enclaves import Peers, goes_on
from cases_migration import Way, attempt
from cases_owner import GROUP, MEMBER, Member, as_user
from cases_persist import FAILED, Cloister
from machine import domain_config, wait_until

ROOM = "[[package]]\nepc = [{ base = 0x1_0000_0000, size = 8 }]\n"
KINDS = ({"epc": 1}, {"epc": 4, "epc_min": 1})


def tickets(machine):
    """They are listed for whose they are, and erased; a user has so many at most."""
    m = machine(ROOM)
    Member(m)  # may reach the socket
    cloister = Cloister(m)
    m.create("web", kernel="sgx_counting", epc=1)
    m.wait_for_ready("web")
    assert cloister("tickets").decode().split() == ["TICKET", "UID", "SAVED", "DOMAIN", "FILE"], cloister("tickets")
    cloister("save", "web", "web.saved")
    (one,) = m.get("/v1/tickets")
    assert (one["domain"], one["file"], one["uid"]) == ("web", str(cloister.folder / "web.saved"), os.getuid()), one
    assert one["ticket"] in cloister("tickets").decode() and f"{one['ticket']}.json" in os.listdir(m.state / "tickets")
    for bad in ("none", "0" * 64):
        assert m.request("DELETE", f"/v1/tickets/{bad}").status == 404
    if os.geteuid() == 0:
        # Nobody else's are shown, or erased.
        path = f"/v1/tickets/{one['ticket']}"
        seen = as_user(MEMBER, GROUP, [], lambda: [m.get("/v1/tickets"), m.request("DELETE", path).status])
        assert seen == [[], 403], seen
    # Of a file that is away; another copy of it goes on without them.
    (cloister.folder / "web.saved").rename(cloister.folder / "kept")
    cloister("tickets", "erase", one["ticket"])
    assert m.get("/v1/tickets") == [] and os.listdir(m.state / "tickets") == []
    cloister("restore", "kept", status=FAILED)
    assert "its ticket is spent" in cloister.said, cloister.said
    cloister("restore", "--enclaves=lose", "kept")
    # Some end by themselves, who were just in an enclave that is not there now.
    assert m.request("DELETE", "/v1/domains/web").status in (200, 404)
    wait_until(lambda: "web" not in m.domains(), "the end of web")
    # No more than so many, of a user; the domain can be saved without, and it runs on meanwhile.
    m.create("web", kernel="sgx_counting", epc=1)
    m.wait_for_ready("web")
    cloister("save", "web", "web.saved")
    (name,) = os.listdir(m.state / "tickets")
    text = json.loads((m.state / "tickets" / name).read_text())
    most = 4096
    for number in range(most - 1):
        path = m.state / "tickets" / f"{number:064x}.json"
        path.write_text(json.dumps(text))
        path.chmod(0o600)
    cloister("restore", "web.saved")
    goes_on(m)
    (m.state / "tickets" / f"{most:064x}.json").write_text(json.dumps(text))
    answer = m.request("POST", "/v1/domains/web/save", {"file": str(cloister.folder / "more")})
    assert answer.status == 507 and "`cloister tickets`" in answer.json["error"]["message"], answer.body
    goes_on(m)
    cloister("save", "--enclaves=lose", "web", "more")


def paused(machine):
    """One that has come paused is saved, and moves, before it runs: with its enclaves, and without."""
    pair = Peers(machine)
    for kind in KINDS:
        pair.ready(**kind)
        pair.cloister("pause", "web")
        pair.migrate()
        m, cloister = pair.b, pair.other
        assert m.domains()["web"]["state"] == "paused" and m.domains()["web"]["instructions"] == 0
        cloister("snapshot", "web", "web.snap")
        assert m.domains()["web"]["state"] == "paused"
        cloister("save", "web", "web.saved")
        assert cloister.said.endswith(", with its enclaves\n"), cloister.said
        cloister("restore", "--paused", "web.saved")
        # And on, without having run.
        pair.turn()
        pair.migrate()
        assert pair.b.domains()["web"]["state"] == "paused"
        cloister = pair.other
        cloister("save", "web", "back.saved")
        cloister("restore", "back.saved")
        wait_until(lambda: pair.b.domains()["web"]["state"] == "running", "that it runs")
        goes_on(pair.b)
        cloister("save", "web", "last.saved")
        cloister("restore", "last.saved")
        goes_on(pair.b)
        pair.b.destroy("web")
        pair.a.check_settled([])
        pair.b.check_settled([])
        pair.turn()
        for one in (pair.cloister, pair.other):
            for path in one.folder.glob("*.s*"):
                path.unlink()
        for one in (pair.cloister, pair.other):
            for key in one.m.get("/v1/keys"):
                one("keys", "erase", key["key"])


def group(machine):
    """A group's key goes from here with its last member here: one that lives, is defined, or lies in a file."""
    pair = Peers(machine)
    grouped = {"epc": 1, "sgx_platform": '"group:prod"', "kernel": "sgx_counting"}

    def here():
        return any(key["key"] == "group:prod" for key in pair.a.get("/v1/keys"))

    def goes(members):
        pair.a.create("web", **grouped)
        pair.a.wait_for_ready("web")
        assert attempt(pair, Way(pair)) == 0, pair.said
        assert here() == members, pair.a.get("/v1/keys")
        goes_on(pair.b)
        assert any(key["key"] == "group:prod" for key in pair.b.get("/v1/keys"))
        pair.b.destroy("web")
        for one, m in ((pair.other, pair.b), (pair.cloister, pair.a)):
            for key in m.get("/v1/keys"):
                if not key["used_by"] and (m is pair.b or key["key"] != "group:prod"):
                    one("keys", "erase", key["key"])

    goes(False)
    pair.a.create("lives", **grouped)
    goes(True)
    pair.a.wait_for_ready("lives")
    pair.cloister("save", "lives", "lives.saved")
    goes(True)
    pair.cloister("tickets", "erase", pair.a.get("/v1/tickets")[0]["ticket"])
    pair.cloister("define", pair.cloister.file("off", domain_config("off", pair.a.kernel("sgx_counting"), epc=1, sgx_platform='"group:prod"')))
    goes(True)
    pair.cloister("undefine", "off")
    goes(False)


CASES = {"tickets": tickets, "save-arrived": paused, "migrate-group-key": group}
