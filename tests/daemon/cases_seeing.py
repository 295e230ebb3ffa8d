"""What the daemon shows of its machine: numbers and a picture."""

import json
import re

import prometheus
from machine import MIB_PAGES, wait_until

TWO_PACKAGES = """
[[package]]
epc = [{ base = 0x1_0000_0000, size = 4 }, { base = 0x2_0000_0000, size = 3 }]
[[package]]
epc = [{ base = 0x80_0000_0000, size = 2, node = 1 }]
"""


def metrics(machine):
    """Every number is in Prometheus' format, agrees with the API, and follows domains."""
    m = machine(TWO_PACKAGES)

    def look():
        answer = m.request("GET", "/metrics")
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4"), answer.headers
        return prometheus.parse(answer.body.decode())

    before = look()
    assert before["cloister_epc_pages"].get(package="0", state="free") == 7 * MIB_PAGES
    assert before["cloister_domains"].get(state="running") == 0
    assert before["cloister_domain_epc_pages"].samples == {}

    m.create("one")
    m.create("two", epc='["size=1,package=1", "size=1,package=0"]')
    m.create("none", epc=0, paused=True)
    m.wait_for_ready("one")
    m.wait_for_ready("two")
    now = look()
    assert now["cloister_domains"].get(state="running") == 2 and now["cloister_domains"].get(state="paused") == 1
    assert now["cloister_domain_epc_pages"].values(domain="two") == [MIB_PAGES, MIB_PAGES]
    assert now["cloister_domain_epc_pages"].get(domain="two", package="1") == MIB_PAGES
    assert now["cloister_domain_epc_pages"].values(domain="none") == []
    for package in m.check_accounts()["packages"]:
        for state in ("free", "granted", "withdrawn"):
            assert now["cloister_epc_pages"].get(package=str(package["package"]), state=state) == package[f"{state}_pages"]
    assert now["cloister_domain_instructions_total"].get(domain="one") > 1000
    assert now["cloister_domain_cpu_seconds_total"].get(domain="one") > 0
    assert now["cloister_domain_exits_total"].get(domain="one", reason="hlt") > 0
    # The payload builds one enclave over all pages of its first section: ECREATE, EADD of the others.
    leaf = lambda name: now["cloister_domain_encls_total"].get(domain="one", leaf=name)
    assert leaf("ECREATE") >= 1 and leaf("EADD") >= MIB_PAGES - 1 and leaf("EREMOVE") >= MIB_PAGES
    assert now["cloister_domain_encls_total"].values(domain="none") == []

    # Its rounds go on; between two of them the enclave is whole.
    def whole():
        types = look()["cloister_domain_epc_page_types"]
        assert sum(types.values(domain="one")) == MIB_PAGES
        return types.get(domain="one", type="reg") == MIB_PAGES - 1 and types.get(domain="one", type="secs") == 1

    wait_until(whole, "a whole enclave")
    for name, family in look().items():
        if family.type == "counter":
            for labels, value in now[name].samples.items():
                assert family.samples[labels] >= value, (name, labels)
    m.request("GET", "/nothing")
    assert look()["cloister_requests_total"].get(method="GET", status="404") == 1
    m.destroy("two")
    assert all(family.values(domain="two") == [] for family in look().values())

    # The dashboard for Grafana asks for these names and labels, and no others.
    text = (m.settings.document.parents[1] / "packaging/grafana/cloister.json").read_text()
    families = look()
    for expression in re.findall(r'"expr": "((?:[^"\\]|\\.)*)"', text):
        expression = json.loads(f'"{expression}"')
        (name,) = set(re.findall(r"cloister_\w+", expression))
        used = set(re.findall(r"(\w+)=~?\"", expression)) | set(re.findall(r"by \((\w+)\)", expression))
        assert name in families, expression
        known = {label for labels in families[name].samples for label, _ in labels}
        assert used <= known or not families[name].samples, (expression, known)


def kinds(package):
    return [(run["first"], run["pages"], run["owner"], run["type"]) for run in package["runs"]]


def epc_map(machine):
    """The picture has every frame once, with its owner and type, in as many runs as one asks for."""
    m = machine(TWO_PACKAGES)
    small, node = m.get("/v1/epc/map")["packages"]
    assert [s["pages"] for s in small["sections"]] == [4 * MIB_PAGES, 3 * MIB_PAGES] and node["sections"][0]["node"] == 1
    assert kinds(small) == [(0x100000, 4 * MIB_PAGES, None, "free"), (0x200000, 3 * MIB_PAGES, None, "free")]

    one = m.create("one", epc='["size=1,package=1"]')
    (extent,) = one["epc"]

    def built():
        runs = kinds(m.get("/v1/epc/map")["packages"][1])
        first = extent["first"]
        wanted = [(first, 1, one["id"], "secs"), (first + 1, MIB_PAGES - 1, one["id"], "reg")]
        return runs[:2] == wanted and runs[2] == (first + MIB_PAGES, MIB_PAGES, None, "free")

    wait_until(built, "the enclave's pages in the picture")
    idle = m.create("idle", epc='["size=1,package=0"]', paused=True)

    for cells in (1, 2, 3, 5, 100, 65536):
        for package in m.get(f"/v1/epc/map?cells={cells}")["packages"]:
            assert len(package["runs"]) <= max(cells, len(package["sections"])), (cells, package)
            covered = {section["base"] // 4096: section["pages"] for section in package["sections"]}
            starts, at = sorted(covered), None
            for run in package["runs"]:
                if at is None or run["first"] != at:
                    assert run["first"] == starts.pop(0), (cells, run)  # a gap only between sections
                    at = run["first"]
                at += run["pages"]
            assert sum(run["pages"] for run in package["runs"]) == sum(covered.values()) and not starts
    # With five runs for seven MiB in two sections the idle domain's is still to be seen; with one a section, the rest is.
    runs = m.get("/v1/epc/map?cells=5")["packages"][0]["runs"]
    assert (idle["id"], "unused") in {(run["owner"], run["type"]) for run in runs}, runs
    runs = m.get("/v1/epc/map?cells=1")["packages"][0]["runs"]
    assert [(run["owner"], run["type"]) for run in runs] == [(None, "free")] * 2, runs


CASES = {"metrics": metrics, "map": epc_map}
