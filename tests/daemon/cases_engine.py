"""What runs a domain's code: its own wish, else the machine's, else the best that there is."""

MACHINE = """
engine = "interpreter"
[[package]]
epc = [{ size = 64 }]
"""


def engine(machine):
    """Each domain runs on the engine that it gets at its creation, whatever becomes of the daemon and the machine."""
    m = machine()
    host = m.get("/v1/host")
    best = host["engines"][-1]
    assert host["engine"] == "auto" and host["engines"] in (["interpreter"], ["interpreter", "compiler"]), host
    m.create("best")
    m.create("plain", engine='"interpreter"')
    chosen = {"best": best, "plain": "interpreter"}
    for engine in ("compiler", "checked"):
        creation = m.creation("vain", engine=f'"{engine}"')
        if engine in host["engines"]:
            assert m.create("good", engine=f'"{engine}"')["engine"] == engine
            chosen["good"] = engine
            continue
        answer = m.request("POST", "/v1/domains", creation)
        error = answer.json["error"]
        assert answer.status == 400 and f"'engine': found \"{engine}\"" in error["message"], answer.body
        assert (error["file"], error["line"], error["column"]) == ("vain.cfg", 6, 10), error
    for _ in range(2):
        assert {name: domain["engine"] for name, domain in m.domains().items()} == chosen
        for name in chosen:
            m.wait_for_ready(name)
        m.restart()
    for name in chosen:
        m.destroy(name)

    other = machine(MACHINE)
    assert other.get("/v1/host")["engine"] == "interpreter"
    assert other.create("as-machine")["engine"] == "interpreter"
    if best != "interpreter":
        assert other.create("own", engine=f'"{best}"')["engine"] == best


CASES = {"engine": engine}
