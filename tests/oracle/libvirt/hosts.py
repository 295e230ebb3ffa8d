"""Hosts to level, made of the models in libvirt's CPU map: each as its CPUID leaves, for us, and by name, for libvirt."""

from pathlib import Path
from xml.etree import ElementTree

MAP = Path("/usr/share/libvirt/cpu_map")
REGISTERS = ("eax", "ebx", "ecx", "edx")
INTEL = {"ebx": 0x756E6547, "edx": 0x49656E69, "ecx": 0x6C65746E}
SGX_FLAGS = ("sgx", "sgxlc", "sgx1", "sgx2", "sgx-debug", "sgx-mode64", "sgx-provisionkey", "sgx-tokenkey")


def feature_bits():
    """Each feature's bits: (leaf, sub-leaf, register, mask). Features of MSRs have none."""
    features = {}
    for feature in ElementTree.parse(MAP / "x86_features.xml").iter("feature"):
        features[feature.get("name")] = [
            (int(cpuid.get("eax_in"), 0), int(cpuid.get("ecx_in", "0"), 0), register, int(cpuid.get(register), 0))
            for cpuid in feature.findall("cpuid") for register in REGISTERS if cpuid.get(register)]
    return features


def model(name):
    """The model's first signature and all its features."""
    element = ElementTree.parse(MAP / f"x86_{name}.xml").find("model")
    signature, features = None, set()
    if (parent := element.find("model")) is not None:
        signature, features = model(parent.get("name"))
    if (own := element.find("signature")) is not None:
        family, number = int(own.get("family")), int(own.get("model"))
        stepping = int((own.get("stepping") or "0").split("-")[0].split(",")[0])
        signature = family << 8 | (number >> 4) << 16 | (number & 15) << 4 | stepping
    return signature, features | {feature.get("name") for feature in element.findall("feature")}


def removed_from(name):
    """Features that a model once had: libvirt switches them off, whatever the model of the QEMU at hand has."""
    file = MAP / f"x86_{name}.xml"
    features = ElementTree.parse(file).iter("feature") if file.exists() else ()
    return {feature.get("name") for feature in features if feature.get("removed") == "yes"}


class Host:
    def __init__(self, name, without=(), sgx=True):
        self.signature, features = model(name)
        assert set(without) <= features, f"{name} has not all of {without}"
        self.sgx = sgx
        self.features = features - set(without) | (set(SGX_FLAGS) if sgx else set())

    def cpu_element(self):
        """As `virsh cpu-baseline` reads a host: a small model, and each feature beyond it."""
        _, plain = model("Conroe")
        lines = "".join(f"<feature name='{flag}'/>" for flag in sorted(self.features - plain))
        return f"<cpu><arch>x86_64</arch><model>Conroe</model><vendor>Intel</vendor>{lines}</cpu>\n"

    def cpudata(self):
        """As libvirt keeps the CPUID leaves of a host (tests/cputestdata)."""
        leaves = {(leaf, 0): dict.fromkeys(REGISTERS, 0) for leaf in (0, 1, 7, 0xD, 0x80000000, 0x80000001)}
        leaves[0, 0] |= INTEL | {"eax": 0x16}
        leaves[1, 0]["eax"] = self.signature
        leaves[0x80000000, 0]["eax"] = 0x80000008
        bits = feature_bits()
        for feature in self.features:
            for leaf, subleaf, register, mask in bits.get(feature, ()):
                leaves.setdefault((leaf, subleaf), dict.fromkeys(REGISTERS, 0))[register] |= mask
        if self.sgx:
            leaves[0x12, 0]["edx"] = 0x241F
            leaves[0x12, 1]["ecx"] = 3
            leaves[0x12, 2] = {"eax": 0x70200001, "ebx": 0, "ecx": 0x5D80001, "edx": 0}
            leaves[0x12, 3] = dict.fromkeys(REGISTERS, 0)
        lines = [f"<cpuid eax_in='{leaf:#010x}' ecx_in='{subleaf:#04x}' "
                 + " ".join(f"{register}='{values[register]:#010x}'" for register in REGISTERS) + "/>"
                 for (leaf, subleaf), values in sorted(leaves.items())]
        return "<cpudata arch='x86'>\n" + "\n".join(lines) + "\n</cpudata>\n"


POOLS = (
    (Host("Skylake-Client-IBRS"), Host("Skylake-Server-IBRS", sgx=False)),
    (Host("Cascadelake-Server"), Host("Icelake-Server")),
    (Host("Icelake-Server"), Host("Icelake-Server-noTSX"), Host("Skylake-Client-noTSX-IBRS")),
    (Host("Skylake-Client-IBRS", without={"avx2", "bmi2"}), Host("Skylake-Client-IBRS", without={"hle", "rtm", "smap"})),
    (Host("Haswell", sgx=False), Host("Broadwell-IBRS", sgx=False), Host("Cascadelake-Server-noTSX")),
    (Host("Icelake-Server", without={"sse4.2"}), Host("Cooperlake")),
)


def features_of_cpu(text):
    """Names of all that a <cpu> element asks for: its model's, and its own."""
    cpu = ElementTree.fromstring(text)
    _, features = model(cpu.find("model").text)
    for feature in cpu.findall("feature"):
        (features.discard if feature.get("policy") in ("disable", "forbid") else features.add)(feature.get("name"))
    return features
