"""The REST interface against docs/openapi.json, and against those who do not keep to it."""

import concurrent.futures
import hashlib
import json
import os
import pathlib
import re
import socket

import schema
from cases_ends import press
from machine import MIB_PAGES, PATIENCE, wait_until

# One small section, so that a shortage is easy to have.
MACHINE = """
[[package]]
epc = [{ base = 0x1_0000_0000, size = 2 }]
"""


class Documented:
    """A machine whose every answer is checked against the document; keeps which parts of it were seen."""

    def __init__(self, machine):
        self.m = machine
        self.document = json.loads(machine.settings.document.read_text())
        self.seen = set()

    def pattern_of(self, path):
        """The document's path that this one is an instance of."""
        parts = path.partition("?")[0].split("/")
        for pattern in sorted(self.document["paths"], key=lambda p: p.count("{")):
            wanted = pattern.split("/")
            if len(wanted) == len(parts) and all(w in (p, "{domain}", "{key}", "{session}", "{ticket}") for w, p in zip(wanted, parts)):
                return pattern
        raise AssertionError(f"{path} is not in the document")

    def __call__(self, method, path, body=None, status=200, headers=None):
        answer = self.m.request(method, path, body, headers)
        assert answer.status == status, (method, path, answer.status, answer.body)
        operation = self.document["paths"][self.pattern_of(path)][method.lower()]
        response = operation["responses"].get(str(status))
        assert response, f"{method} {path}: {status} is not in the document: {answer.body}"
        known = {parameter["name"] for parameter in operation.get("parameters", []) if parameter["in"] == "header"}
        assert set(headers or {}) <= known, f"{method} {path}: the document does not know one of {headers}"
        assert set(response.get("headers", {})) <= set(answer.headers), (path, answer.headers)
        if "content" not in response:
            assert answer.body == b"" and "Content-Type" not in answer.headers, (path, answer.headers, answer.body)
        for kind, content in response.get("content", {}).items():
            assert answer.headers["Content-Type"].split(";")[0] == kind, answer.headers
            if kind == "application/json":
                schema.check(answer.json, content["schema"], self.document, f"{method} {path}")
        if "requestBody" in operation and status < 300 and (body is not None or operation["requestBody"]["required"]):
            wanted = operation["requestBody"]["content"]["application/json"]["schema"]
            schema.check(body, wanted, self.document, f"the body of {method} {path}")
        self.seen.add((operation["operationId"], status))
        return answer

    def documented(self):
        return {
            (operation["operationId"], int(status))
            for item in self.document["paths"].values()
            for method, operation in item.items()
            if method != "parameters"
            for status in operation["responses"]
        }


def definitions(call):
    """The operations of domains that are defined."""
    m, path = call.m, "/v1/domains/kept"
    text = {key: value for key, value in m.creation("kept", epc=0).items() if key != "paused"}
    tag = call("PUT", path, text, 201, {"If-None-Match": "*"}).headers["ETag"]
    call("PUT", path, text, 412, {"If-None-Match": "*"})
    assert call("PUT", path, text, 200, {"If-Match": tag}).headers["ETag"] == tag
    call("PUT", path, {**text, "config": "name = "}, 400)
    call("PUT", "/v1/domains/idle", {**text, "config": m.creation("idle", epc=0)["config"]}, 409)
    assert call("GET", path + "/definition").json["config"] == text["config"]
    call("GET", path + "/definition", status=304, headers={"If-None-Match": tag})
    call("GET", "/v1/domains/idle/definition", status=404)
    call("GET", "/v1/domains?all=true")
    call("GET", "/v1/domains?all=maybe", status=400)
    call("GET", path + "/policy", status=409)
    call("GET", path + "/console", status=409)
    call("PATCH", path, {"autostart": "last", "order": 3, "delay_seconds": 0}, headers={"If-Match": tag})
    call("PATCH", path, {"order": 4}, 412, {"If-Match": tag})
    call("DELETE", path + "/definition", None, 412, {"If-Match": '"another"'})
    call("POST", path + "/start", {"paused": "no"}, 400)
    call("POST", "/v1/domains/none/start", status=404)
    call("POST", path + "/start", {"paused": True}, 201)
    call("POST", path + "/start", status=409)
    call("GET", path)
    call("DELETE", path + "/definition", status=409)
    assert "kept" in [domain["name"] for domain in call("POST", "/v1/host/down").json["domains"]]
    assert call("GET", "/v1/host").json["autostart"]["going_down"]
    call("POST", "/v1/domains", m.creation("late", epc=0), 503)
    call("PUT", "/v1/domains/late", {key: value for key, value in m.creation("late", epc=0).items() if key != "paused"}, 201)
    call("POST", "/v1/domains/late/start", status=503)
    call("DELETE", "/v1/domains/late/definition")
    call("POST", "/v1/host/up")
    call("DELETE", path)
    call("DELETE", path, status=409)
    # What it would need is not there when it is to start.
    call("PUT", path, {**text, "config": m.creation("kept", epc=2)["config"]})
    call("POST", path + "/start", status=507)
    call("DELETE", path + "/definition")
    call("DELETE", path + "/definition", status=404)


def keys(call, used):
    """The operations of keys; `used`: the uuid of a domain that lives."""
    m, path = call.m, "/v1/domains/keyed"
    (key,) = call("GET", "/v1/keys").json
    assert (key["key"], key["used_by"], key["owner"]["uid"]) == (used, ["uno"], os.geteuid()), key
    call("DELETE", f"/v1/keys/{used}", status=409)
    call("DELETE", "/v1/keys/group:none", status=404)
    call("DELETE", "/v1/keys/none", status=404)
    text = {key: value for key, value in m.creation("keyed", epc=0).items() if key != "paused"}
    call("PUT", path, text, 201)
    assert call("POST", path + "/keys", {"sgx_platform": "private"}).json["name"] == "keyed"
    call("POST", path + "/keys", {"sgx_platform": "machine"}, 400)
    call("POST", "/v1/domains/none/keys", {"sgx_platform": "private"}, 404)
    call("PUT", path, {**text, "config": text["config"] + 'sgx_platform = "machine"\n'})
    call("POST", path + "/keys", {"sgx_platform": "private"}, 409)
    call("DELETE", path + "/definition?keys=maybe", status=400)
    call("DELETE", path + "/definition?keys=true")


def saves(call):
    """The operations that save and restore."""
    m, path = call.m, "/v1/domains/saved"
    request = {"file": str(m.run.parent / "api.saved")}
    uuid = call("POST", "/v1/domains", m.creation("saved", epc=1, paused=True), 201).json["uuid"]
    call("POST", path + "/save", request, 409)  # it has not run yet
    copy = {"file": request["file"] + ".snap"}
    call("POST", path + "/snapshot", copy, 409)
    call("POST", path + "/unpause")
    m.wait_for_ready("saved")
    call("POST", "/v1/domains/none/save", request, 404)
    call("POST", path + "/save", {"file": "saved"}, 400)
    ticket = m.state / "tickets" / ("2" * 64 + ".json")
    ticket.write_text(json.dumps({"version": 1, "uuid": uuid, "boot": 1, "session": "0" * 32, "domain": "0" * 32, "key": "0" * 64, "token": "0" * 64,
                                  "name": "saved", "file": "/none", "group": "", "made": "2026-01-01T00:00:00Z", "user": os.getuid()}))
    ticket.chmod(0o600)
    assert [one["ticket"] for one in call("GET", "/v1/tickets").json] == ["2" * 64]
    call("DELETE", "/v1/tickets/" + "2" * 64)
    call("DELETE", "/v1/tickets/" + "2" * 64, None, 404)
    call("POST", "/v1/domains/none/host-save", None, 404)
    call("POST", path + "/host-save", None, 409)
    call("POST", "/v1/domains", {**m.creation("hosted", epc=0), "persist": True}, 201)
    m.wait_for_ready("hosted")
    call("POST", "/v1/domains/hosted/host-save", None, 202)
    wait_until(lambda: call("GET", "/v1/domains/hosted").json["state"] == "shut off", "the end of hosted")
    assert call("GET", "/v1/domains/hosted").json["goes_on"]
    call("POST", "/v1/domains/hosted/start", {"anew": True}, 201)
    call("DELETE", "/v1/domains/hosted")
    call("DELETE", "/v1/domains/hosted/definition")
    call("POST", "/v1/domains/none/snapshot", copy, 404)
    call("POST", path + "/snapshot", {"file": "saved"}, 400)
    call("POST", path + "/snapshot", {**copy, "enclaves": "lose"}, 400)
    assert call("POST", path + "/snapshot", copy, 202).json["save"]["snapshot"]
    wait_until(lambda: not call("GET", path).json["save"]["going"], "the end of the snapshot")
    call("POST", "/v1/restore", copy, 409)
    # Its enclave fills all of its EPC.
    assert call("POST", path + "/save", {**request, "enclaves": "lose"}, 202).json["save"]["file"] == request["file"]
    wait_until(lambda: not call("GET", f"/v1/domains/{uuid}").json["save"]["going"], "the end of saving")
    call("POST", "/v1/restore", {"file": "/none"}, 400)
    call("POST", "/v1/restore", {**request, "enclaves": "keep"}, 409)
    assert call("POST", "/v1/restore", {**copy, "paused": True}, 201).json["snapshot"]
    call("DELETE", path)
    call("POST", "/v1/restore", {**request, "paused": True}, 201)
    call("POST", "/v1/restore", request, 409)
    call("DELETE", path)
    instead = call("POST", "/v1/domains", m.creation("instead", epc=1), 201).json["uuid"]
    call("POST", "/v1/restore", request, 507)
    call("DELETE", "/v1/domains/instead")
    call("POST", "/v1/host/down")
    call("POST", "/v1/restore", request, 503)
    call("POST", "/v1/host/up")
    for key in (uuid, instead):
        call("DELETE", f"/v1/keys/{key}")


def paged(machine):
    """What there is for domains whose EPC is paged."""
    m = machine("[[package]]\nepc = [{ base = 0x1_0000_0000, size = 6 }]\n")
    call = Documented(m)
    call("POST", "/v1/domains", m.creation("paged", epc=4, epc_min=1), 201)
    call("POST", "/v1/domains", m.creation("other", epc=4, epc_min=2), 201)
    call("POST", "/v1/domains", m.creation("whole", epc=1), 201)
    m.wait_for_ready("paged")
    assert call("GET", "/v1/domains/paged").json["paging"]["min_pages"] == MIB_PAGES
    assert "paging" not in call("GET", "/v1/domains/whole").json
    assert {domain["name"]: "paging" in domain for domain in call("GET", "/v1/epc/domains").json} == {
        "paged": True, "other": True, "whole": False}
    call("GET", "/v1/domains")
    call("GET", "/metrics")
    path = "/v1/domains/paged/epc"
    changed = call("PATCH", path, {"min_mib": 2, "weight": 300}).json["paging"]
    assert (changed["min_pages"], changed["weight"]) == (2 * MIB_PAGES, 300), changed
    wait_until(lambda: call("GET", "/v1/domains/paged").json["paging"]["held_pages"] >= 2 * MIB_PAGES, "its minimum")
    for wrong in ({"min_mib": 0}, {"min_mib": 4}, {"weight": 0}, {"weight": 10001}, {"min": 1}, {"weight": "x"}, []):
        call("PATCH", path, wrong, 400)
    call("PATCH", path, {"min_mib": 3})
    refused = call("PATCH", "/v1/domains/other/epc", {"min_mib": 3}, 507).json["error"]["message"]
    assert "it can have 2 MiB: " in refused and " are others'" in refused, refused
    call("PATCH", "/v1/domains/whole/epc", {"weight": 1}, 409)
    call("PATCH", "/v1/domains/none/epc", {"weight": 1}, 404)
    # Until its end, whatever becomes of the daemon.
    m.restart()
    again = call("GET", "/v1/domains/paged").json["paging"]
    assert (again["min_pages"], again["weight"]) == (3 * MIB_PAGES, 300), again
    return call


def moves(call):
    """The operations of domains that move between daemons, but for the moves themselves (cases_migration)."""
    m, way, session = call.m, "/v1/domains/idle/migration", "0" * 32
    here = "/v1/domains/{}/migration{}".format
    call("POST", here("idle", "/offer"))
    offer = call("POST", here("idle", "/offer"), {"enclaves": "lose"}).json
    refused = call("POST", here("idle", "/offer"), {"enclaves": "keep"}).json["refused"]
    assert any("'peers' in its [migration] is missing" in why for why in refused), refused
    call("POST", here("idle", "/offer"), {"enclaves": "keep", "target": "x"}, 400)
    call("POST", here("idle", "/offer"), {"enclaves": 1}, 400)
    call("POST", here("idle", "/proof"), {"session": session, "answer": "0" * 448}, 409)
    call("POST", here("idle", "/proof"), {"session": session}, 400)
    call("POST", here("idle", "/way"), {"to": "127.0.0.1:9"}, 426)
    assert call("POST", "/v1/transfers").json["peers"] == []
    call("POST", here("none", "/way"), {"to": "127.0.0.1:9"}, 404)
    call("POST", here("none", "/proof"), {"session": session, "answer": "0" * 448}, 404)
    call("PUT", f"/v1/migrations/{session}/proof", {"proof": "0" * 320}, 404)
    call("PUT", f"/v1/migrations/{session}/proof", {}, 400)
    call("POST", "/v1/offers", {"offer": offer})
    call("POST", "/v1/offers", {"offer": {}}, 400)
    call("POST", "/v1/migrations", {"offer": offer}, 426)
    upgrade = {"Upgrade": "cloister-move", "Connection": "Upgrade"}

    def switch(path, body, status):
        """As a client that speaks more than HTTP."""
        assert m.request("POST", path, body, upgrade).status == status, path
        call.seen.add((call.document["paths"][call.pattern_of(path)]["post"]["operationId"], status))

    switch("/v1/migrations", {"offer": offer}, 409)
    switch("/v1/migrations", {}, 400)
    switch(here("idle", "/way"), {"to": "127.0.0.1:9"}, 502)  # to no machine: none is named
    switch(here("idle", "/way"), {}, 400)
    switch(here("idle", "/way"), {"to": "x" * 257}, 400)
    assert call("GET", f"/v1/migrations/{session}").json["phase"] == "aborted"
    call("PUT", f"/v1/migrations/{session}/verdict", {"verdict": "commit"}, 409)
    # As one that was decided before.
    verdicts = m.state / "migrations"
    verdicts.mkdir(mode=0o700, exist_ok=True)
    decided = {"verdict": "abort", "paused": False, "uuid": "", "name": "", "user": os.geteuid()}
    (verdicts / session).write_text(json.dumps(decided))
    (verdicts / session).chmod(0o600)
    assert call("PUT", f"/v1/migrations/{session}/verdict", {"verdict": "commit"}).json["verdict"] == "abort"
    call("PUT", f"/v1/migrations/{session}/verdict", {"verdict": "no"}, 400)
    call("PUT", f"/v1/migrations/{session}/done", {}, 400)
    # One whose enclaves have come is not forgotten before its source has said that it knows.
    (verdicts / session).write_text(json.dumps({**decided, "verdict": "commit", "done": "0" * 64}))
    for forget in (lambda: call("DELETE", f"/v1/migrations/{session}", status=409),
                   lambda: call("PUT", f"/v1/migrations/{session}/done", {"word": "0" * 64}, 409)):
        forget()
        assert (verdicts / session).exists()
    token = b"what its source alone knows, here!"[:32]
    digest = hashlib.sha256(token).hexdigest()
    (verdicts / session).write_text(json.dumps({**decided, "verdict": "commit", "done": digest}))
    call("PUT", f"/v1/migrations/{session}/done", {"word": token.hex()})
    assert not (verdicts / session).exists()
    call("DELETE", f"/v1/migrations/{session}")
    call("DELETE", "/v1/migrations/x", status=400)
    call("GET", way, status=404)
    call("DELETE", way, status=409)
    call("DELETE", here("none", ""), status=404)
    call("POST", way, {"session": session, "to": ""}, 426)
    switch(way, {"session": "x", "to": ""}, 400)
    switch(here("none", ""), {"session": session, "to": ""}, 404)
    for below, body in (("/hold", {"session": session}), ("/verdict", {"session": session, "verdict": "commit"})):
        call("POST", here("idle", below), {}, 400)
        call("POST", here("idle", below), body, 409)
        call("POST", here("none", below), body, 404)
    call("POST", here("none", "/offer"), status=404)


def openapi(machine):
    """Every operation and status of the document happens, and every answer has the shape that it says."""
    m = machine(MACHINE)
    call = Documented(m)
    call.seen |= paged(machine).seen
    for path in ("/", "/v1/host", "/v1/epc", "/v1/epc/domains", "/v1/epc/map", "/v1/domains", "/metrics"):
        call("GET", path)
    call("POST", "/v1/domains", m.creation("one"), 201)
    m.wait_for_ready("one")
    call("POST", "/v1/domains", m.creation("idle", epc=0, paused=True), 201)
    warned = m.creation("warned", epc=0)
    warned["config"] += 'vcpu = 1\n'
    assert "vcpus" in call("POST", "/v1/domains", warned, 201).json["warnings"][0]
    for path in ("/v1/epc", "/v1/epc/domains", "/v1/epc/map?cells=7", "/v1/domains", "/v1/domains/one", "/metrics"):
        call("GET", path)
    assert b"READY" in call("GET", "/v1/domains/one/console").body
    call("GET", "/v1/domains/none/console", status=404)
    policies = call("GET", "/v1/domains/one/policy").json
    assert any("sgx" in leaf["names"] for leaf in policies["domain"]["cpuid"]), policies["domain"]
    call("GET", "/v1/domains/none/policy", status=404)
    for cells in ("0", "-1", "65537", "x", "", "1x"):
        call("GET", f"/v1/epc/map?cells={cells}", status=400)
    call("POST", "/v1/domains", m.creation("one"), 409)
    call("POST", "/v1/domains", m.creation("two", epc=2), 507)
    wrong = call("POST", "/v1/domains", {"config": 'name = "x"\nmemory = "much"\n', "file": "x.cfg"}, 400).json["error"]
    assert (wrong["file"], wrong["line"], wrong["column"]) == ("x.cfg", 2, 10), wrong
    call("PATCH", "/v1/domains/one", {"name": "uno"})
    call("PATCH", "/v1/domains/uno", {"name": "idle"}, 409)
    call("PATCH", "/v1/domains/uno", {"name": "12"}, 400)
    call("PATCH", "/v1/domains/none", {"name": "x"}, 404)
    call("POST", "/v1/domains/idle/unpause")
    call("POST", "/v1/domains/uno/unpause", status=409)
    call("POST", "/v1/domains/uno/reboot")
    call("POST", "/v1/domains", m.creation("nmi", epc=0, kernel="nmi"), 201)
    m.wait_for_ready("nmi")
    call("POST", "/v1/domains/nmi/trigger", {"trigger": "nmi"})
    offered = call("POST", "/v1/domains/nmi/trigger", {"trigger": "reset"}, 400).json["error"]["message"]
    assert offered == "the request's body: 'trigger': expected \"nmi\"", offered
    call("POST", "/v1/domains/nmi/trigger", {"trigger": "nmi", "vcpu": 1}, 409)
    call("POST", "/v1/domains/none/trigger", {"trigger": "nmi"}, 404)
    call("POST", "/v1/domains/nmi/epc-target", {"mib": 0}, 409)  # it has no EPC
    call("POST", "/v1/domains/uno/epc-target", {"mib": 1})
    call("POST", "/v1/domains/uno/epc-target", {"mib": 1 << 20}, 409)
    call("POST", "/v1/domains/uno/epc-target", {}, 400)
    call("POST", "/v1/domains/none/epc-target", {"mib": 0}, 404)
    call("DELETE", "/v1/domains/nmi")
    call("POST", "/v1/domains", m.creation("sleeper", epc=0, kernel="ends"), 201)
    m.wait_for_ready("sleeper")
    call("POST", "/v1/domains/sleeper/wake", status=409)
    press(m, "sleeper", b"z")
    wait_until(lambda: m.domains()["sleeper"]["state"] == "suspended", "the guest to sleep")
    call("GET", "/v1/domains/sleeper")
    call("POST", "/v1/domains/sleeper/wake")
    call("DELETE", "/v1/domains/sleeper")
    uno = m.domains()["uno"]["uuid"]
    for verb in ("pause", "unpause", "shutdown", "reboot", "wake"):
        call("POST", f"/v1/domains/none/{verb}", status=404)
    definitions(call)
    saves(call)
    moves(call)
    keys(call, uno)
    call("GET", "/v1/domains/none", status=404)
    call("DELETE", "/v1/domains/none", status=404)
    call("DELETE", "/v1/domains/uno")
    call("DELETE", f"/v1/keys/{uno}")
    assert call("GET", "/v1/keys").json == []

    # What only a failure or a domain's other end brings about has its shape from the one place where errors are made.
    # That of another user's domain is in the case `access`.
    missing = {(o, s) for o, s in call.documented() - call.seen if s not in (403, 500)}
    rest = {("pause", 200), ("pause", 409), ("shutdown", 200), ("shutdown", 409), ("reboot", 409), ("define", 507)}
    rest |= {("offer", 409), ("migrate", 101), ("migrate", 409), ("migration", 200), ("cancel_migration", 200), ("hold", 200),
             ("way", 101), ("proveSource", 200), ("acceptSource", 200), ("acceptSource", 409), ("take_verdict", 200), ("receive", 101), ("receive", 503), ("receive", 507), ("forget_arrival", 409), ("decide", 409), ("save", 507), ("saveForHost", 507), ("eraseTicket", 409)}
    assert missing <= rest, missing - rest
    # A document's path with a method that it does not list is refused.
    for pattern, item in call.document["paths"].items():
        path = pattern.replace("{domain}", "idle")
        for method in ("GET", "POST", "DELETE", "PATCH", "PUT"):
            if method.lower() in item:
                continue
            answer = m.request(method, path, {})
            assert answer.status == 405 and answer.json["error"]["message"], (method, path, answer.body)
            assert set(answer.headers["Allow"].split(", ")) == {m.upper() for m in item if m != "parameters"}


def raw(m, text, half_close=False):
    """What the daemon answers to these bytes."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(PATIENCE)
        connection.connect(str(m.run / "cloisterd.sock"))
        try:
            connection.sendall(text)
        except BrokenPipeError:
            pass  # it has heard enough
        if half_close:
            connection.shutdown(socket.SHUT_WR)
        answer = b""
        try:
            while chunk := connection.recv(65536):
                answer += chunk
        except ConnectionResetError:
            pass
        return answer


def bad_requests(machine):
    """Nonsense gets one clear error, is logged, and hurts nobody."""
    m = machine(MACHINE)
    m.create("bystander")
    post = "/v1/domains"
    good = m.creation("good")
    bodies = {
        "not JSON": "{",
        "expected a JSON object": "[]",
        "'config' is missing": {"file": "x"},
        "'config': expected a string": {"config": 1, "file": "x"},
        "'paused': expected true or false": {**good, "paused": 1},
        "unknown member 'nmae'": {**good, "nmae": "x"},
        "absolute": {**good, "directory": "here"},
        "relative path": {**good, "config": 'name = "x"\nkernel = "vmlinuz"\n'},
        "No such file": {**good, "config": 'name = "x"\nkernel = "/nowhere"\n'},
        "not a regular file": {**good, "config": 'name = "x"\nkernel = "/dev/zero"\n'},
        "not digits alone": {**good, "config": 'name = "7"\nkernel = "/etc/hostname"\n'},
        "cannot use kernel": {**good, "config": 'name = "x"\nkernel = "/etc/passwd"\n'},
        "'name' is missing": {**good, "config": ""},
    }
    for words, body in bodies.items():
        answer = m.request("POST", post, body)
        assert answer.status == 400, (words, answer.status, answer.body)
        found = answer.json["error"]["message"]
        assert words in found or "is missing" in found and words.endswith("missing"), (words, found)
    nested = m.request("POST", post, "[" * 500_000)
    assert nested.status == 400, nested.body
    assert m.request("POST", post, json.dumps({**good, "file": "\ud800"})).status in (201, 400)
    assert m.request("POST", post, b'{"config":"\xff\xfe","file":"x"}').status == 400
    m.request("DELETE", "/v1/domains/good")

    assert m.request("POST", post, "x" * (3 << 20)).status == 413
    assert m.request("GET", "/" + "x" * 600).status == 414
    assert m.request("POST", post, b"\x1f\x8b", {"Content-Encoding": "gzip"}).status == 415
    for path in ("/v1", "/v1/domains/", "/v1/domains/a/b/c", "/v1/domains//pause", "/../etc/passwd"):
        assert m.request("GET", path).status == 404, path
    head = b"POST /v1/domains HTTP/1.1\r\nHost: x\r\n"
    endless = head + b"Transfer-Encoding: chunked\r\n\r\n" + b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    assert b" 4" in raw(m, endless + (b"10000\r\n" + b"x" * 0x10000 + b"\r\n") * 40)[:20]
    assert b" 400 " in raw(m, b"nonsense\r\n\r\n", half_close=True)[:20]
    raw(m, head + b"Content-Length: 100\r\n\r\n{", half_close=True)
    raw(m, head + b"Content-Length: -1\r\n\r\n{}", half_close=True)
    raw(m, bytes(range(256)) * 64, half_close=True)
    raw(m, b"", half_close=True)

    # The control socket takes nothing on trust either.
    path = m.domains()["bystander"]["console"].replace("console.sock", "control.sock")
    for packet in (b"{", b"[]", b'{"verb":1}', b'{"verb":"nothing"}', b'{"verb":"rename","name":3}', b"x" * 70_000):
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as control:
            control.settimeout(PATIENCE)
            control.connect(path)
            control.send(packet)
            answer = control.recv(65536)
            assert answer == b"" or "error" in json.loads(answer), (packet[:20], answer)
    m.wait_for_ready("bystander")
    m.check_settled(["bystander"])
    assert b"b" in m.type_into("bystander", b"b")
    log = m.log.read_text()
    for status in (400, 404, 413, 414, 415):
        assert f"status={status}" in log, status


def megabytes(m, what):
    """Of the daemon's memory (proc(5)): VmHWM at most so far, VmRSS now."""
    status = pathlib.Path(f"/proc/{m.process.pid}/status").read_text()
    return int(re.search(rf"{what}:\s+(\d+) kB", status)[1]) >> 10


def greedy_bodies(machine):
    """A body of 2 MiB costs a few times as much while it is read, whatever is in it, and nothing afterwards."""
    m = machine(MACHINE)
    size = 2_100_000
    config = lambda text: json.dumps({"config": text[: 1 << 20], "file": "x"})
    bodies = {"deep": "[" * size, "deep objects": '{"a":' * (size // 5), "empty": "[" + "[]," * (size // 3),
              "objects": "[" + "{}," * (size // 3), "members": "{" + '"a":{},' * (size // 7),
              "numbers": '{"config":[' + "1," * (size // 2),
              "deep list": config("a=" + "[" * size), "list": config("a=[" + "1," * size),
              "lists": config("a=[" + "[]," * size), "settings": config("a=1;" * size)}
    m.request("POST", "/v1/domains", "[]" + " " * size)
    before, rest = megabytes(m, "VmHWM"), megabytes(m, "VmRSS")
    for name, body in bodies.items():
        with concurrent.futures.ThreadPoolExecutor(8) as clients:
            for answer in clients.map(lambda _: m.request("POST", "/v1/domains", body), range(16)):
                assert answer.status == 400, (name, answer.status, answer.body)
        assert megabytes(m, "VmHWM") - before < 8 * 2 * 10, (name, before, megabytes(m, "VmHWM"))
    assert megabytes(m, "VmRSS") - rest < 8 * 2 * 5, (rest, megabytes(m, "VmRSS"))


def refusals_logged(machine):
    """A user's refused requests are limited in the log, those that are left out are counted, and no line is long."""
    m = machine(MACHINE)
    word = "x" * 1_000_000
    bodies = [m.creation("good") | {"config": text}
              for text in (f"{word} {word}", f"name = '{word}'\nkernel = 'k'", f"name = 'a'\nkernel = '{word}'")]
    bodies.append({word: 1})
    for body in bodies:
        answer = m.request("POST", "/v1/domains", body)
        assert answer.status == 400 and len(answer.body) < 10_000, (answer.status, answer.body[:200])
    count = 2000
    for _ in range(count):
        assert m.request("GET", "/nowhere").status == 404
    lines = lambda event: [line for line in m.log.read_text().splitlines() if f"event={event} " in line]
    told = lambda: sum(int(re.search(r"times=(\d+)", line)[1]) for line in lines("lines-suppressed"))
    wait_until(lambda: len(lines("request-refused")) + told() == count + len(bodies), "all to be told or counted")
    assert told() > count // 4 and all(f"uid={os.getuid()}" in line for line in lines("lines-suppressed"))
    assert m.log.stat().st_size < 1 << 20, m.log.stat().st_size


CASES = {"refusals-logged": refusals_logged, "greedy-bodies": greedy_bodies, "openapi": openapi, "bad-requests": bad_requests}
