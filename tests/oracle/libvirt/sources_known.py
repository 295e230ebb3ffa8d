"""What differs from libvirt's own test data, and who is right: (version or None for all, kind, name): reason."""

_STRICT = "undecided here: libvirt's <cpu> of that host does not tell of SGX's flags, and match='strict' is about all of them"
_CURRENT = "libvirt starts fewer processors than the domain has: here all are there from the start, which render tells"
_OPTIONAL = "the test's host lacks an optional flag: QEMU has no such policy, and render tells that it is lost"
_EDITED = "here: the session's other answer, query-cpu-model-expansion, has a host without sgx; its answer on SGX was written in by hand"
_MINIMUM = "match='minimum' is the host's own model, which only libvirt on that host knows; render tells that it is ignored"

KNOWN = {
    (None, "models", "x86_64-cpuid-Atom-D510-host.xml"):
        "here: a 32-bit program made the dump and read SYSCALL as 0, which each of Intel's with 64-bit mode has",
    (None, "compare", "host host-incomp-arch"): "here: a <cpu> of another architecture is refused as an error, with its place",
    (None, "compare", "host-no-vendor host"): "here: the host's model is Intel's, though its <vendor> is not said",
    (None, "compare", "host strict-full"): _STRICT,
    (None, "compare", "host strict-disable"): _STRICT,
    (None, "compare", "host strict-force-extra"): _STRICT,
    ("11.3.0", "arguments", "cpu-hotplug-startup.xml"): _CURRENT,
    ("11.3.0", "arguments", "cpu-topology1.xml"): _CURRENT,
    ("11.3.0", "arguments", "cpu-topology4.xml"): _CURRENT,
    ("11.3.0", "arguments", "cputune-numatune.xml"): _CURRENT,
    ("11.3.0", "arguments", "vcpu-placement-static.xml"): _CURRENT,
    ("11.3.0", "arguments", "cpu-exact2-nofallback.xml"): _OPTIONAL,
    ("11.3.0", "arguments", "cpu-exact2.xml"): _OPTIONAL,
    ("11.3.0", "arguments", "cpu-strict1.xml"): _OPTIONAL,
    ("11.3.0", "arguments", "cpu-minimum1.xml"): _MINIMUM,
    ("11.3.0", "arguments", "cpu-minimum2.xml"): _MINIMUM,
    ("11.3.0", "offers", "caps_7.0.0_x86_64.replies"): _EDITED,
    ("9.0.0", "offers", "caps_7.0.0.x86_64.replies"): _EDITED,
}
