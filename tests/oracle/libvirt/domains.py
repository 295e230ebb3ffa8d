"""The domains that the judges see: those of examples/, and some dozens of which each has one thing of its own."""

from dataclasses import dataclass
from pathlib import Path

SILICON = ("skylake-client", "kabylake-client", "gemini-lake", "coffeelake-client", "icelake-client", "icelake-server",
           "sapphire-rapids")
EPC = ("0", "1", "64", '["size=64", "size=32"]', '["size=32,package=0"]', '["size=64,package=0", "size=128,package=0"]',
       '["size=64,package=1", "size=32,package=0"]', "[" + ", ".join(['"size=8"'] * 8) + "]")
CPUID = ("host", "host,sgx2=0", "host,sgx-kss=0,sgx-tokenkey=0", "host,sgx-provisionkey=0,sgx-debug=0", "host,avx2=0",
         "host,sse4.1=0,sse4.2=0,xsave=0", "host,sgx=0")
CMDLINES = ("", "console=ttyS0", "console=ttyS0 a,b,,c=d", "a='one two' b=\\\"three\\\"", "a<b>c&d;e", "$HOME `x` \\\\ !")


@dataclass
class Domain:
    name: str
    config: Path


def text_of(name, kernel, settings):
    lines = [f'name = "{name}"', f'kernel = "{kernel}"']
    return "\n".join(lines + [f"{key} = {value}" for key, value in settings.items()]) + "\n"


def quoted(text):
    return f'"{text}"'


def variations():
    yield from ({"epc": epc} for epc in EPC)
    yield from ({"epc": 64, "silicon": quoted(silicon)} for silicon in SILICON)
    yield from ({"epc": 64, "silicon": quoted("icelake-server"), "cpuid": quoted(cpuid)} for cpuid in CPUID)
    yield from ({"silicon": quoted(silicon)} for silicon in SILICON)
    yield from ({"epc": 16, "cmdline": quoted(cmdline)} for cmdline in CMDLINES)
    yield from ({"epc": 32, "vcpus": vcpus, "memory": memory} for vcpus, memory in ((1, 16), (2, 513), (5, 1024), (16, 4096)))
    yield {"epc": EPC[6], "vcpus": 4, "memory": 1023, "silicon": quoted("sapphire-rapids")}
    yield {"epc": 64, "sgx_provision": 1}
    yield {"epc": 64, "sgx_provision": 1, "silicon": quoted("coffeelake-client")}
    yield {"epc": 64, "lehash": quoted("01" * 32), "lewr": 0, "silicon": quoted("icelake-server")}
    yield {"localtime": 1}
    yield {"rtc_timeoffset": quoted("-3600")}  # for libvirt: QEMU has its base alone
    yield {"epc": 64, "root": quoted("/dev/vda"), "extra": quoted("ro quiet")}


def domains(folder, examples):
    """Configurations whose kernels are there."""
    kernel, ramdisk = folder / "vmlinuz", folder / "initramfs, of a test.cpio"
    write_kernel(kernel)
    ramdisk.write_bytes(bytes(1024))
    result = []
    for example in sorted(examples.glob("*.cfg")):
        config = folder / example.name
        text = example.read_text()
        for name, file in (("build/guest/vmlinuz", kernel), ("build/guest/initramfs.cpio", ramdisk),
                           ("server.img.vmlinuz", kernel), ("server.img.initrd", ramdisk)):
            text = text.replace(name, str(file))
        config.write_text(text)
        result.append(Domain(example.stem, config))
    for index, settings in enumerate(variations()):
        name = f"domain-{index}"
        if index % 2:
            settings["ramdisk"] = quoted(ramdisk)
        config = folder / f"{name}.cfg"
        config.write_text(text_of(name, kernel, settings))
        result.append(Domain(name, config))
    return result


def write_kernel(path):
    """A bzImage as far as QEMU looks at one that it does not start (Linux, Documentation/arch/x86/boot.rst)."""
    image = bytearray(16384)
    image[0x1F1] = 1  # setup_sects
    image[0x1FE:0x200] = b"\x55\xaa"
    image[0x202:0x208] = b"HdrS\x0c\x02"
    image[0x211] = 1  # loaded high
    image[0x22C:0x230] = (0x7FFFFFFF).to_bytes(4, "little")  # initrd_addr_max
    image[0x238:0x23C] = (2047).to_bytes(4, "little")  # cmdline_size
    path.write_bytes(image)
