// Hosts as other tools describe them: each format gives what it says, what it does not say is unknown, and what is
// wrong is one error at its place. The shapes are those of libvirt 9 to 12 and QEMU 6.2 to 10.
#include "interop/hosts/hosts.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "policy/level.hpp"
#include "unit/policy/dumps.hpp"
#include "unit/policy/sgx_machines.hpp"
#include "unit/toolstack/host_files.hpp"

namespace cloister::toolstack {
namespace {

using policy::EpcSectionView;
using policy::HostView;
using policy::Known;
using policy::SgxState;
using ::testing::Contains;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Optional;

HostView good(std::string_view text) {
  auto host = read_host(text, "a file");
  EXPECT_TRUE(host.has_value()) << format("a file", host ? Diagnostic{} : host.error()) << "\n" << text;
  return host ? std::move(*host) : HostView{};
}

std::string error(std::string_view text) {
  const auto host = read_host(text, "F");
  EXPECT_FALSE(host.has_value()) << text;
  return host ? "" : format("F", host.error());
}

Known has(const HostView& host, std::string_view name) { return policy::has(host, *policy::find_feature(name)); }

/// What the source said of features by their names.
std::vector<Known> named(const HostView& host, std::initializer_list<const char*> names) {
  std::vector<Known> known;
  for (const char* const name : names) known.push_back(host.named.says(*policy::find_feature(name)));
  return known;
}

EpcSectionView section(u64 bytes, std::optional<u32> node) {
  return {.base = std::nullopt, .bytes = bytes, .property = 0, .node = node};
}

// ------------------------------------------------------------------------------------------------ leaves

TEST(ReadHost, RecognisesCpuidDumps) {
  for (const char* text : {tests::raw_dump, tests::aida_dump, tests::instlat_dump}) {
    const HostView host = good(text);
    EXPECT_EQ(host.name, "a file");
    EXPECT_EQ(host.source, "a CPUID dump");
    EXPECT_FALSE(host.cpus.empty());
    EXPECT_EQ(has(host, "sgx1"), Known::yes);
  }
  EXPECT_EQ(good(std::string("\xef\xbb\xbf") + tests::raw_dump).cpus.size(), 1u) << "with a byte order mark";
}

TEST(ReadHost, LibvirtsCpudataHasLeaves) {
  const HostView host = good(tests::cpudata);
  EXPECT_EQ(host.source, "libvirt's CPU data");
  ASSERT_EQ(host.cpus.size(), 1u);
  EXPECT_EQ(host.cpus[0].table.get(7, 0).ebx, 0x029c67afu);
  EXPECT_EQ(policy::state_of(host), SgxState::switched_off);
  const HostView old = good("<cpudata arch='x86'><cpuid function='0x00000007' ebx='0x00000004'/></cpudata>");
  EXPECT_EQ(has(old, "sgx"), Known::yes) << "before libvirt 1.3";
}

TEST(ReadHost, LibvirtsCpudataHasMsrs) {
  std::string text = tests::cpudata;
  text.insert(text.find("</cpudata>"), "<msr index='0x10a' edx='0x1' eax='0x9'/>");
  const HostView host = good(text);
  EXPECT_EQ(host.msrs, (std::map<u32, u64>{{0x10a, 0x1'0000'0009}}));
  policy::CpuMap map;
  map.features = {{.name = "rdctl-no", .msr = 0x10a, .msr_bits = 1}, {.name = "rsba", .msr = 0x10a, .msr_bits = 4}};
  EXPECT_EQ(policy::map_cpu(host, map).features, (std::vector{Known::yes, Known::no}));
  map.features = {{.name = "split-lock", .msr = 0x33, .msr_bits = 1}};
  EXPECT_EQ(policy::map_cpu(host, map).features, std::vector{Known::unknown}) << "nobody read this one";
}

// ------------------------------------------------------------------------------------------------ libvirt's words

TEST(ReadHost, DomainCapabilitiesHaveSgxSectionsAndTheHostModel) {
  const HostView host = good(tests::domain_capabilities);
  EXPECT_EQ(host.source, "libvirt's domain capabilities");
  EXPECT_EQ(host.model, "Icelake-Server");
  EXPECT_THAT(named(host, {"sgx", "sgxlc", "sgx1", "sgx2", "sgx-debug"}), Each(Known::yes));
  EXPECT_EQ(named(host, {"mpx"}), std::vector{Known::no});
  EXPECT_THAT(host.epc, Optional(ElementsAre(section(0x7ec0'0000, 0), section(0x7f40'0000, 1))));
  EXPECT_EQ(has(host, "sgx-kss"), Known::unknown) << "the model may have it";
  EXPECT_TRUE(policy::sgx_report(host).usable);
}

TEST(ReadHost, WhatWasCopiedFromATerminal) {
  const std::string text = std::string("root@host:~# virsh domcapabilities\n") + tests::domain_capabilities;
  EXPECT_EQ(good(text).model, "Icelake-Server");
  EXPECT_EQ(good(text + "root@host:~# ").model, "Icelake-Server");
  const auto wrong = read_host("$ virsh capabilities\n<capabilities><a></capabilities>", "a");
  ASSERT_FALSE(wrong);
  EXPECT_EQ(wrong.error().at.line, 2u) << wrong.error().message;
}

TEST(ReadHost, DomainCapabilitiesWithoutSgx) {
  const HostView none = good(
      "<domainCapabilities><arch>x86_64</arch><features><sgx supported='no'/></features>"
      "</domainCapabilities>");
  EXPECT_EQ(has(none, "sgx"), Known::no);
  const HostView silent = good("<domainCapabilities><domain>qemu</domain></domainCapabilities>");
  EXPECT_EQ(has(silent, "sgx"), Known::unknown) << "libvirt before 8.10 says nothing of it";
  EXPECT_EQ(silent.source, "libvirt's domain capabilities (without KVM)");
  EXPECT_EQ(good("<domainCapabilities><features><sgx supported='yes'><section_size unit='MiB'>64</section_size></sgx>"
                 "</features></domainCapabilities>")
                .epc,
            std::vector{section(64 << 20, std::nullopt)})
      << "a sum only";
}

// libvirt lists the host's sections for guests on the interpreter, too.
TEST(ReadHost, WhatSpeaksOfGuestsWithoutKvmIsNotUsable) {
  std::string text = tests::domain_capabilities;
  text.replace(text.find("kvm<"), 3, "qemu");
  const std::string answers = R"({"sgx": true, "sgx1": true, "section-size": 1048576})";
  for (const HostView& host : {good(text), good(R"({"return": {"enabled": false, "present": true}})" + answers)}) {
    const policy::SgxReport report = policy::sgx_report(host);
    EXPECT_FALSE(report.usable) << host.source;
    ASSERT_FALSE(report.findings.empty());
    EXPECT_EQ(report.findings.front().rule, "without-kvm");
  }
  EXPECT_TRUE(policy::sgx_report(good(R"({"return": {"enabled": true, "present": true}})" + answers)).usable);
}

TEST(ReadHost, CapabilitiesHaveTheHostsCpu) {
  const HostView host = good(
      "<?xml version='1.0'?>\n<capabilities><host><cpu><arch>x86_64</arch>"
      "<model>Skylake-Client-IBRS</model><vendor>Intel</vendor><feature name='sgx'/>"
      "<feature name='vmx'/><feature name='not-ours'/></cpu></host></capabilities>");
  EXPECT_EQ(host.model, "Skylake-Client-IBRS");
  EXPECT_EQ(has(host, "sgx"), Known::yes);
  EXPECT_EQ(has(host, "sgx1"), Known::unknown);
  const HostView guest = good(
      "<cpu mode='custom' match='exact'>\n<model fallback='forbid'>Skylake-Client</model>\n"
      "<feature policy='require' name='sgx'/><feature policy='disable' name='sgx1'/></cpu>");
  EXPECT_EQ(has(guest, "sgx1"), Known::no);
}

TEST(ReadHost, LibvirtsCacheHasKvmsFlagsAndSections) {
  const HostView host = good(
      "<!--\n cache\n--><qemuCaps><selfctime>1</selfctime>"
      "<hostCPU type='kvm' model='base'><property name='sgx' type='boolean' value='true'/><property name='sgx-kss' "
      "type='boolean' value='false'/><property name='family' type='number' value='6'/></hostCPU>"
      "<hostCPU type='tcg' model='base'><property name='sgx-kss' type='boolean' value='true'/></hostCPU>"
      "<sgx supported='yes'><flc>yes</flc><sgx1>yes</sgx1><sgx2>no</sgx2><sections><section node='0' size='1024' "
      "unit='KiB'/></sections></sgx></qemuCaps>");
  EXPECT_THAT(named(host, {"sgx", "sgxlc", "sgx1"}), Each(Known::yes));
  EXPECT_THAT(named(host, {"sgx2", "sgx-kss"}), Each(Known::no));
  EXPECT_THAT(host.epc, Optional(ElementsAre(section(1 << 20, 0))));
}

// ------------------------------------------------------------------------------------------------ in words

TEST(ReadHost, WhatProgramsSayOfSgxInWords) {
  struct Case {
    const char* text;
    const char* source;
    std::vector<Known> sgx;  ///< sgx, sgx1, sgx2, sgxlc
  };
  constexpr Known y = Known::yes, n = Known::no, u = Known::unknown;
  const Case cases[] = {
      {"   extended feature flags (7):\n      SGX: Software Guard Extensions supported = true\n      SGX_LC: SGX "
       "launch "
       "config supported        = false\n      SGX1 supported                         = true\n",
       "'cpuid' without -r",
       {y, y, u, n}},
      {"SGX supported by CPU: true\nSGX1 (ECREATE, EENTER, ...): true\nSGX2 (EAUG, EACCEPT, EMODPR, ...): false\n"
       "Flexible Launch Control (IA32_SGXPUBKEYHASH{0..3} MSRs): true\nEPC size: 0x5d80000\n",
       "is-sgx-available",
       {y, y, n, y}},
      {"(qemu) info sgx\nSGX support: enabled\nSGX1 support: enabled\nSGX2 support: disabled\nFLC support: enabled\n"
       "NUMA node #0: size=98041856\n",
       "QEMU's 'info sgx'",
       {y, y, n, y}},
      {"[    0.4] sgx: EPC section 0x40200000-0x45f7ffff\n[    0.5] other: 1\n", "the kernel's log", {y, y, u, u}},
      {"[    0.1] x86/cpu: SGX disabled by BIOS.\n", "the kernel's log", {y, n, u, u}},
      {"<3>[    0.1] x86/cpu: SGX disabled or unsupported by BIOS.\n", "the kernel's log", {y, n, u, u}},
      {"[Mon Nov  2 10:00:00 2026] x86/cpu: SGX Launch Control is locked. Support SGX virtualization only.\n",
       "the kernel's log",
       {y, u, u, y}},
  };
  for (const Case& c : cases) {
    const HostView host = good(c.text);
    EXPECT_EQ(host.source, c.source);
    EXPECT_EQ(named(host, {"sgx", "sgx1", "sgx2", "sgxlc"}), c.sgx) << c.source;
    if (host.epc) {
      EXPECT_EQ(policy::bytes_of(host.epc), 0x5d80000u) << c.source;
    }
  }
  EXPECT_EQ(good("EPC size: 0x1000000\n").source, "is-sgx-available");
  EXPECT_THAT(error("note: yes\nrdmsr 0x3a\n60005\n"), HasSubstr("found none of the formats"));
}

// arch/x86/kernel/cpu/feat_ctl.c and sgx/main.c: what they say of the whole, alone or beside sections and a dump.
TEST(ReadHost, TheKernelsLogSaysWhatKeepsGuestsFromSgx) {
  const std::string section = "[    0.5] sgx: EPC section 0x40200000-0x45f7ffff\n";
  struct Case {
    std::string line;
    const char* rule;
    bool usable;
  };
  const Case cases[] = {
      {"[    0.1] x86/cpu: SGX Launch Control is locked. Support SGX virtualization only.\n", "launch-locked", true},
      {"kernel: x86/cpu: SGX Launch Control is locked. Disable SGX driver.\n", "launch-locked", true},
      {"[    0.1] x86/cpu: SGX Launch Control is locked. Disable SGX.\n", "not-offered", false},
      {"[    0.1] x86/cpu: SGX virtualization disabled due to lack of VMX.\n", "not-offered", false},
  };
  for (const Case& c : cases) {
    for (const std::string& beside : {section, std::string(tests::instlat_dump)}) {
      const policy::SgxReport report = policy::sgx_report(good(c.line + beside));
      EXPECT_THAT(report.findings, Contains(Field(&policy::Finding::rule, c.rule))) << c.line << beside;
      EXPECT_EQ(policy::obstacle(report) == nullptr, c.usable) << c.line << beside;
    }
  }
  const policy::SgxReport locked = policy::sgx_report(good(cases[2].line));
  EXPECT_THAT(policy::obstacle(locked)->message, HasSubstr("'SGX Launch Control is locked. Disable SGX'"));
  // Firmware that left SGX off, whatever a dump of another day has.
  const std::string off = "[    0.1] x86/cpu: SGX disabled or unsupported by BIOS.\n";
  EXPECT_THAT(policy::obstacle(policy::sgx_report(good(off)))->message, HasSubstr("unsupported by BIOS'"));
  EXPECT_EQ(policy::obstacle(policy::sgx_report(good(off)))->rule, "firmware-disabled");
  EXPECT_EQ(policy::obstacle(policy::sgx_report(good(off + tests::instlat_dump)))->rule, "not-offered");
  EXPECT_NE(policy::obstacle(policy::sgx_report(good("[    0.1] sgx: There are zero EPC sections.\n"))), nullptr);
}

/// Of its processors, or by name.
std::vector<Known> told(const HostView& host, const std::vector<const char*>& features) {
  std::vector<Known> known;
  for (const char* name : features) known.push_back(policy::has(host, *policy::find_feature(name)));
  return known;
}

/// What a host's first processor says of CPUID.
const policy::CpuidTable& leaves_of(const HostView& host) {
  static const policy::CpuidTable none;
  return host.cpus.empty() ? none : host.cpus.front().table;
}

// Leaf by leaf, as if it had been raw; what the words leave out is unknown, and so is what has other words.
TEST(ReadHost, CpuidInWords) {
  const HostView host = good(
      "> CPU 0:\n>    vendor_id = \"GenuineIntel\"\n>    version information (1/eax):\n"
      ">       processor type  = primary processor (0)\n>       family          = 0x6 (6)\n"
      ">       model           = 0xe (14)\n>       stepping id     = 0xa (10)\n>       extended family = 0x0 (0)\n"
      ">       extended model  = 0x8 (8)\n>       (family synth)  = 0x6 (6)\n"
      "   feature information (1/ecx):\r\n      SSE4.2 extensions                       = true\r\n"
      "      AVX: advanced vector extensions         = false\r\n"
      "   extended feature flags (7):\n      SGX: Software Guard Extensions supported = true\n"
      "      SGX_LC: SGX launch config supported      = true\n      words of another version = true\n"
      "   XSAVE features (0xd/0):\n      XCR0 valid bit field mask               = 0x000000000000001f\n"
      "   0x00000013 0x00: eax=0x00000001 ebx=0x00000000 ecx=0x00000000 edx=0x00000000\n"
      "   Software Guard Extensions (SGX) capability (0x12/0):\n"
      "      SGX1 supported                           = true\n"
      "      SGX2 supported                           = false\n"
      "      MaxEnclaveSize_Not64 (log2)              = 0x1f (31)\n"
      "      MaxEnclaveSize_64 (log2)                 = 0x24 (36)\n"
      "   SGX attributes: ECREATE SECS.ATTRIBUTES (0x12/1):\n"
      "      valid bit mask = 0x000000000000001f0000000000000036\n"
      "   SGX Enclave Page Cache (EPC) enumeration (0x12/0x2):\n      type                     = EPC section\n"
      "      section physical address = 0x0000000140200000\n      section size             = 0x0000000005d80000\n"
      "      section property         = confidentiality & integrity protection\n"
      "   SGX Enclave Page Cache (EPC) enumeration (0x12/0x3):\n      type = invalid\n"
      "   brand = \"Intel(R) Core(TM) i5-8350U CPU @ 1.70GHz\"\nCPU 1:\n   extended feature flags (7):\n"
      "      SGX: Software Guard Extensions supported = true\nrdmsr 0x3a\n60005\n");
  EXPECT_EQ(host.source, "'cpuid' without -r and MSRs");
  ASSERT_EQ(host.cpus.size(), 2u);
  const policy::CpuidTable& leaves = leaves_of(host);
  EXPECT_EQ(leaves.look(1, 0).regs.eax, 0x806eau);
  EXPECT_EQ(policy::brand_of(leaves), "Intel(R) Core(TM) i5-8350U CPU @ 1.70GHz");
  EXPECT_EQ(leaves.look(0xd, 0).regs.eax, 0x1fu);
  EXPECT_EQ(leaves.look(0x13, 0).regs.eax, 1u) << "what has no words is raw";
  EXPECT_EQ(leaves.look(0x12, 0).regs.edx, 0x241fu);
  EXPECT_EQ(leaves.look(0x12, 1).regs, (arch::CpuidRegs{0x36, 0, 0x1f, 0}));
  EXPECT_THAT(told(host, {"sse4.2", "sgx", "sgxlc", "sgx1", "sgx-mode64"}), Each(Known::yes));
  EXPECT_THAT(told(host, {"avx", "sgx2", "sgx-kss"}), Each(Known::no));
  EXPECT_THAT(told(host, {"avx2", "sgx-exinfo"}), Each(Known::unknown));
  EXPECT_THAT(policy::epc_of(host),
              Optional(ElementsAre(policy::EpcSectionView{
                  .base = 0x1'4020'0000, .bytes = 0x5d80000, .property = 1, .node = std::nullopt})));
  EXPECT_EQ(host.msrs.at(0x3a), 0x60005u);
  policy::CpuMap map = policy::map_of_features();
  EXPECT_EQ(policy::map_cpu(host, map).vendor, "Intel");
  EXPECT_EQ(policy::map_cpu(host, map).signature, 0x806eau);
}

TEST(ReadHost, TestSgxInWords) {
  const HostView host = good(
      "Start test-sgx (version 2.0.0) at Wed Aug 28 17:55:49 2024\n\nThe CPU is Genuine Intel\n"
      "CPU: Intel(R) Xeon(R) Gold 6348 CPU @ 2.60GHz\n  Stepping 6         Model 10           Family 6 \n"
      "  Processor type 0   Extended model 6   Extended family 0 \nSafer Mode Extensions (SMX): 0\n"
      "Extended feature bits (EAX=7, ECX=0): eax: 00000000  ebx: f1bf07af  ecx: 40415f5e  edx: ac000410\nSupports SGX\n"
      "SGX Launch Configuration (SGX_LC): 1\nSGX1 leaf instructions (SGX1): 1\nSGX2 leaf instructions (SGX2): 1\n"
      "EINCVIRTCHILD, EDECVIRTCHILD, and ESETCONTEXT (OVERSUB-VMX): 0\nEVERIFYREPORT2: 0\n"
      "Supported Extended features for MISC region of SSA (MISCSELECT) 0x00000001\n"
      "The maximum supported enclave size in non-64-bit mode is 2^31\n"
      "The maximum supported enclave size in     64-bit mode is 2^56\n"
      "Raw ECREATE SECS.ATTRIBUTES[63:0]: 00000000 000000b6\n"
      "    ECREATE SECS.ATTRIBUTES[KSS] (Key Separation and Sharing Enabled): 1\n"
      "Raw ECREATE SECS.ATTRIBUTES[127:64] (XFRM: Copy of XCR0): 00000000 000002e7\n"
      "EPC[0]: Protection: c   Base phys addr: 0000000100000000  size: 0000000040000000\n"
      "Raw IA32_FEATURE_CONTROL: 0000000000060001\nEnd test-sgx\n");
  EXPECT_EQ(host.source, "test-sgx");
  const policy::CpuidTable& leaves = leaves_of(host);
  EXPECT_EQ(leaves.look(1, 0).regs.eax, 0x606a6u);
  EXPECT_EQ(leaves.look(7, 0).regs.ecx, 0x40415f5eu);
  EXPECT_EQ(policy::brand_of(leaves), "Intel(R) Xeon(R) Gold 6348 CPU @ 2.60GHz");
  EXPECT_EQ(leaves.look(0x12, 0).regs.edx, 0x381fu);
  EXPECT_EQ(leaves.look(0x12, 1).regs, (arch::CpuidRegs{0xb6, 0, 0x2e7, 0}));
  EXPECT_THAT(told(host, {"sgx", "sgxlc", "sgx1", "sgx2", "sgx-exinfo", "sgx-kss", "avx512f"}), Each(Known::yes));
  EXPECT_THAT(told(host, {"sgx-enclv", "sgx-everifyreport2", "sgx-aex-notify"}), Each(Known::no));
  EXPECT_EQ(policy::bytes_of(policy::epc_of(host)), 1u << 30);
  EXPECT_EQ(host.msrs.at(0x3a), 0x60001u);
}

const std::string words_of_leaf_12 =
    "   Software Guard Extensions (SGX) capability (0x12/0):\n"
    "      SGX1 supported                           = true\n      MaxEnclaveSize_64 (log2) = 0x24 (36)\n";
const std::string words_of_epc =
    "   SGX Enclave Page Cache (EPC) enumeration (0x12/0x2):\n      type                     = EPC section\n"
    "      section physical address = 0x0000000140200000\n      section size             = 0x0000000005d80000\n"
    "      section property         = confidentiality & integrity protection\n";

TEST(ReadHost, WordsOfLeaf12Alone) {
  for (const std::string& words : {"CPU:\n" + words_of_leaf_12 + words_of_epc, words_of_leaf_12 + words_of_epc}) {
    const HostView host = good(words);
    EXPECT_EQ(host.source, "'cpuid' without -r");
    EXPECT_THAT(told(host, {"sgx", "sgx1"}), Each(Known::yes));
    EXPECT_EQ(policy::sgx_report(host).log2_size_64, 36);
    EXPECT_EQ(policy::bytes_of(policy::epc_of(host)), u64{0x5d80000});
  }
  EXPECT_EQ(policy::bytes_of(policy::epc_of(good(words_of_epc))), u64{0x5d80000});
}

TEST(ReadHost, WordsOfLeaf12ThatSayNo) {
  const policy::SgxReport report =
      policy::sgx_report(good("   Software Guard Extensions (SGX) capability (0x12/0):\n      SGX1 supported           "
                              "                = false\n"));
  EXPECT_FALSE(report.usable);
  ASSERT_NE(policy::obstacle(report), nullptr);
  EXPECT_EQ(policy::obstacle(report)->rule, "no-sgx1");
}

// cpuid | grep -i sgx: the headings are gone, and what is false is false of the processor.
TEST(ReadHost, WordsOfSgxWithoutTheirHeadings) {
  const std::string no = "      SGX: Software Guard Extensions supported = false\n";
  for (const std::string& words : {no, no + "   Software Guard Extensions (SGX) capability (0x12/0):\n"
                                            "      SGX1 supported                           = false\n"}) {
    const policy::SgxReport report = policy::sgx_report(good(words));
    EXPECT_EQ(report.state, policy::SgxState::absent);
    ASSERT_FALSE(report.findings.empty());
    EXPECT_EQ(report.findings.front().rule, "no-sgx") << words;
  }
}

// What Linux has found of a processor, which says nothing of what it has not found.
TEST(ReadHost, FlagsOfLinux) {
  const std::string flags = "fpu vme pni sgx avx512f ibrs ibpb stibp ssbd constant_tsc sgx_lc sse4_1 sgx1";
  const std::pair<std::string, const char*> forms[] = {
      {"processor\t: 0\nvendor_id\t: GenuineIntel\nflags\t\t: " + flags + "\nvmx flags\t: vnmi\n\n", "/proc/cpuinfo"},
      {"Architecture:   x86_64\r\nVendor ID:      GenuineIntel\r\nFlags:          " + flags + "\r\n", "lscpu"},
      {R"({"lscpu": [{"field": "Vendor ID:", "data": "GenuineIntel", "children": [{"field": "Flags:", "data": ")" +
           flags + R"("}]}]})",
       "lscpu"}};
  for (const auto& [text, source] : forms) {
    const HostView host = good(text);
    EXPECT_EQ(host.source, source);
    EXPECT_EQ(host.vendor, "Intel");
    EXPECT_THAT(told(host, {"fpu", "sse3", "sgx", "sgxlc", "avx512f", "sse4.1"}), Each(Known::yes));
    // Of Linux's own making on Intel's, and a word that is another tool's.
    EXPECT_THAT(told(host, {"ibrs", "ibpb", "stibp", "ssbd", "sgx1", "avx2"}), Each(Known::unknown));
    const policy::SgxReport report = policy::sgx_report(host);
    EXPECT_FALSE(report.usable);
    EXPECT_EQ(policy::obstacle(report), nullptr);
  }
  EXPECT_THAT(told(good("flags\t: fpu\n"), {"sgx", "sgx1"}), Each(Known::unknown)) << "an old kernel does not say";
  EXPECT_FALSE(read_host("Features\t: fp asimd\n", "a").has_value()) << "ARM's";
  EXPECT_EQ(good("Vendor ID:   HygonGenuine\n").source, "lscpu");
  const policy::SgxReport amd = policy::sgx_report(good("vendor_id\t: AuthenticAMD\nflags\t\t: fpu\n"));
  ASSERT_NE(policy::obstacle(amd), nullptr);
  EXPECT_THAT(policy::obstacle(amd)->message, HasSubstr("not Intel's"));
}

// Damaged words are no facts.
TEST(ReadHost, WhatIsDamagedInWordsIsUnknown) {
  const HostView host = good(
      "CPU 99999999999:\nCPU 1:\n   version information (1/eax):\n      model = 0x1f (31)\n      family = six\n"
      "      stepping id = (\n   brand = \"\n   vendor_id = \"Genuine\"\n"
      "   extended feature flags (7):\n      SGX: Software Guard Extensions supported = perhaps\n"
      "      AVX2: advanced vector extensions 2 = true\n   (0x):\n   (99999999999):\n      SGX1 supported = true\n"
      "   SGX attributes (0x12/1):\n      valid bit mask = 0x12\n"
      "   SGX Enclave Page Cache (EPC) enumeration (0x12/0x2):\n      section property = 0x3 (3)\n"
      "EPC[99]: Protection: ci  Base phys addr: 1  size: 2\nEPC[\nThe maximum supported enclave size is 2^99\n"
      "Raw ECREATE SECS.ATTRIBUTES[63:0]:\n");
  EXPECT_THAT(told(host, {"sgx", "sgx-debug"}), Each(Known::unknown));
  EXPECT_EQ(leaves_of(host).look(1, 0).known.eax, 0u);
  EXPECT_EQ(policy::epc_of(host), std::nullopt);
}

// rdmsr -a has a value for each processor.
TEST(ReadHost, MsrsOfProcessorsThatDiffer) {
  const std::string cfl = std::string(tests::instlat_dump);
  const auto differs = [&](const std::string& lines) {
    const policy::SgxReport report = policy::sgx_report(good(cfl + lines));
    const policy::Finding* const obstacle = policy::obstacle(report);
    return obstacle != nullptr && obstacle->rule == "msrs-differ" ? obstacle->message : "";
  };
  EXPECT_EQ(differs("# rdmsr -a 0x3a\n60005\n60005\n60005\n# rdmsr 0x3a\n60005\n"), "");
  const char* const two = "IA32_FEATURE_CONTROL is 0x60005 on one processor, and 0x5 on another";
  EXPECT_EQ(differs("# rdmsr --all 0x3a\n60005\n60005\n5\n"), two);
  EXPECT_EQ(differs("# rdmsr -p 0 0x3a\n60005\n# rdmsr -p3 0x3a\n5\n"), two);
  EXPECT_THAT(differs("# rdmsr -a 0x8c\n1\n2\n"), HasSubstr("IA32_SGXLEPUBKEYHASH0"));
  // What one processor had yesterday is no other processor.
  EXPECT_EQ(differs("rdmsr 0x3a\n5\nrdmsr 0x3a\n60005\n"), "");
}

// Of rdmsr's ways to print a value; a part of one is none.
TEST(ReadHost, MsrsInOtherForms) {
  const auto control = [](const std::string& lines) {
    return policy::feature_control_of(good(std::string(tests::instlat_dump) + lines));
  };
  EXPECT_EQ(control("rdmsr -d 0x3a\n393221\n"), 0x60005u);
  EXPECT_EQ(control("rdmsr -X -0 0x3A\n0000000000060005\n"), 0x60005u);
  EXPECT_EQ(control("rdmsr -c 0x3a\n0x60005\n"), 0x60005u);
  EXPECT_EQ(control("$ sudo rdmsr -xf 18:18 0x3a\n1\n"), std::nullopt);
  EXPECT_EQ(control("rdmsr --octal 0x3a\n1400005\n"), std::nullopt);
}

// A dump carries launch control, if rdmsr's lines stand beside it.
TEST(ReadHost, MsrsBesideADump) {
  const std::string cfl = std::string(tests::instlat_dump);
  for (const char* msrs : {"# rdmsr 0x3a\n20005\nrdmsr -0 0x8c\na6053e051270b7ac\nrdmsr 0x8d\n1\nrdmsr 0x8e\n2\nrdmsr "
                           "0x8f\n3\n",
                           "0x3a: 0x20005\nMSR 0x8c = 0xa6053e051270b7ac\n0x8d: 0x1\n0x8e: 2\n0x8f: 3\n",
                           "0000003a -> 0000000000020005\n0000008c -> a6053e051270b7ac\n0000008d -> 1\n0000008e -> "
                           "2\n0000008f -> 3\n"}) {
    const HostView host = good(cfl + msrs);
    EXPECT_EQ(host.source, "a CPUID dump and MSRs");
    EXPECT_EQ(policy::feature_control_of(host), 0x20005u) << msrs;
    EXPECT_EQ(policy::lepubkeyhash_of(host), (std::array<u64, 4>{0xa6053e051270b7ac, 1, 2, 3})) << msrs;
    EXPECT_EQ(policy::launch_of(host), policy::LaunchCase::unlocked);
  }
  EXPECT_EQ(policy::launch_of(good(cfl)), policy::LaunchCase::unknown);
}

// ------------------------------------------------------------------------------------------------ QEMU's words

TEST(ReadHost, QemusAnswersStandAloneOrInASession) {
  const HostView host = good(tests::qmp_session);
  EXPECT_EQ(host.source, "QEMU's query-cpu-model-expansion and query-sgx-capabilities");
  EXPECT_THAT(named(host, {"sgx", "sgxlc", "sgx-debug", "lm"}), Each(Known::yes));
  EXPECT_EQ(named(host, {"sgx-provisionkey"}), std::vector{Known::no});
  EXPECT_EQ(host.named.look(arch::leaf::version, 0).known.eax, 0u) << "family and model are no flags";
  EXPECT_EQ(host.model, std::nullopt) << "'base' is no model";
  EXPECT_THAT(host.epc, Optional(ElementsAre(section(67108864, 0), section(29360128, 1))));
  const HostView bare = good(R"({"sgx": true, "sgx1": true, "sgx2": false, "flc": false, "section-size": 1048576})");
  EXPECT_EQ(bare.source, "QEMU's query-sgx-capabilities");
  EXPECT_THAT(bare.epc, Optional(ElementsAre(section(1048576, std::nullopt)))) << "QEMU 6.2";
  EXPECT_EQ(policy::launch_of(bare), policy::LaunchCase::none);
  EXPECT_THAT(good(R"([{"return": {"sgx": true, "section-size": 0}}])").epc, Optional(IsEmpty()));
}

TEST(ReadHost, QemuWithoutTheDeviceSaysSo) {
  for (const char* words : {"SGX is not enabled in KVM", "Could not open '/dev/sgx_vepc': Permission denied"}) {
    const HostView host = good(R"({"error": {"class": "GenericError", "desc": ")" + std::string(words) + "\"}}");
    EXPECT_EQ(has(host, "sgx"), Known::no);
    const policy::SgxReport report = policy::sgx_report(host);
    ASSERT_EQ(report.findings.size(), 1u);
    EXPECT_EQ(report.findings[0].rule, "not-offered");
    EXPECT_THAT(report.findings[0].message, HasSubstr(words));
  }
}

TEST(ReadHost, WithoutTheDeviceItIsOfNoUseWhatKvmWouldGive) {
  const std::string refused = R"({"error": {"class": "GenericError", "desc": "SGX is not enabled in KVM"}})",
                    model = R"({"return": {"model": {"name": "host", "props": {"sgx": true, "avx2": true}}}})";
  for (const std::string& session : {refused + model, model + refused}) {
    const HostView host = good(session);
    EXPECT_EQ(has(host, "sgx"), Known::no);
    EXPECT_EQ(has(host, "avx2"), Known::yes);
  }
}

TEST(ReadHost, QemusFeatureWordsAreRegistersOfFeatures) {
  const HostView host = good(R"({"return": [
    {"cpuid-register": "EBX", "cpuid-input-ecx": 0, "cpuid-input-eax": 7, "features": 36},
    {"cpuid-register": "EDX", "cpuid-input-eax": 1, "features": 260832255}], "id": "feature-words"}
    {"return": 6, "id": "family"})");
  EXPECT_EQ(host.source, "QEMU's feature-words");
  EXPECT_EQ(has(host, "sgx"), Known::yes);
  EXPECT_EQ(has(host, "avx2"), Known::yes);
  EXPECT_EQ(has(host, "smep"), Known::no);
  EXPECT_EQ(has(host, "sgxlc"), Known::unknown) << "another register of the leaf";
  EXPECT_THAT(error(R"({"return": [{"cpuid-register": "EFX"}]})"), HasSubstr("found a feature word without"));
}

// ------------------------------------------------------------------------------------------------ errors

TEST(ReadHost, ErrorsStandAtTheirPlace) {
  const struct {
    const char *text, *error;
  } cases[] = {
      {"", "F: found nothing, expected a CPUID dump"},
      {"hello\n", "F: found none of the formats, expected a CPUID dump"},
      {"CPU 0:\n  nonsense", "F:2:1: found no registers"},
      {"<a", "F:1:"},
      {"<domain type='kvm'/>", "F:1:1: found <domain>, expected <domainCapabilities>"},
      {"<cpudata arch='ppc64'/>", "F:1:1: found the data of arch='ppc64', expected 'x86'"},
      {"<cpudata arch='x86'/>", "F:1:1: found no <cpuid>"},
      {"<cpudata arch='x86'>\n <cpuid eax_in='7' eax='x'/></cpudata>",
       "F:2:2: found eax='x', expected a number of 32 bits"},
      {"<cpudata arch='x86'><cpuid eax_in='7' ebx='0x100000000'/></cpudata>", "expected a number of 32 bits"},
      {"<cpudata arch='x86'><cpuid/></cpudata>", "F:1:21: found <cpuid> without eax_in"},
      {"<cpudata arch='x86'><cpuid eax_in='7'/>\n<cpuid eax_in='0x7' ecx_in='0'/></cpudata>",
       "F:2:1: found leaf 0x7, sub-leaf 0x0 again"},
      {"<capabilities/>", "F:1:1: found no <host><cpu>"},
      {"<cpu><arch>ppc64</arch></cpu>", "F:1:6: found arch 'ppc64', expected x86_64"},
      {"<cpu/>", "F:1:1: found neither <model> nor <feature>"},
      {"<cpu><feature/></cpu>", "F:1:6: found <feature> without a name"},
      {"<cpu><feature policy='maybe' name='sgx'/></cpu>", "F:1:6: found policy='maybe'"},
      {"<domainCapabilities><arch>aarch64</arch></domainCapabilities>", "found arch 'aarch64'"},
      {"<domainCapabilities><features><sgx/></features></domainCapabilities>",
       "found supported='', expected yes or no"},
      {"<domainCapabilities><features><sgx supported='yes'><flc>true</flc></sgx></features></domainCapabilities>",
       "found 'true', expected yes or no"},
      {"<domainCapabilities><features><sgx supported='yes'><sections><section size='-1'/></sections></sgx></features>"
       "</domainCapabilities>",
       "found '-1' KiB, expected a size"},
      {"<domainCapabilities><features><sgx supported='yes'><section_size unit='GiB'>99999999999999999</section_size>"
       "</sgx></features></domainCapabilities>",
       "found '99999999999999999' GiB, expected a size"},
      {"{\n  \"sgx\": tru }", "F:2:"},
      {"{\"sgx\": true}\n  x", "F:2:3: found 'x', expected a JSON object"},
      {"{", "F:1:2: this is no JSON: found the end"},
      {"{}", "F:1:1: found JSON with no such answer"},
      {"\n{\"error\": {\"desc\": \"bell\\u0007\"}}", "F:2:1: found QEMU's error 'bell?'"},
      {"{\"sgx\": true, \"flc\": 1}", "F:1:1: in the answer that begins here: found 'flc' that is not true or false"},
      {"{\"sgx\": true, \"sections\": {}}", "found 'sections' that is no list"},
      {"{\"sgx\": true, \"sections\": [{\"node\": 0}]}", "found a section without 'size'"},
      {"{\"sgx\": true, \"sections\": [{\"node\": -1, \"size\": 1}]}", "found a section whose 'node' is no number"},
      {"{\"model\": {\"props\": []}}", "found 'props' that is no object"},
  };
  for (const auto& c : cases) EXPECT_THAT(error(c.text), HasSubstr(c.error)) << c.text;
  EXPECT_THAT(error(std::string(100, '[')), HasSubstr("F:1:65: found brackets nested more than 64 deep"));
  EXPECT_LT(error("<cpudata arch='" + std::string(5000, 'a') + "'/>").size(), 200u);
}

TEST(ReadHost, AnyBytesGiveAHostOrOneLine) {
  std::minstd_rand random(1);
  int hosts = 0, errors = 0;
  const auto below = [&](std::size_t n) { return static_cast<std::size_t>(random()) % n; };
  for (const std::string& seed : {std::string(tests::cpudata), std::string(tests::domain_capabilities),
                                  std::string(tests::qmp_session), std::string(tests::raw_dump)}) {
    for (int i = 0; i < 2000; ++i) {
      std::string text = seed;
      for (std::size_t changes = 1 + below(2); changes-- > 0;) {
        const std::size_t at = below(text.size());
        switch (below(4)) {
          case 0: text[at] = static_cast<char>(below(256)); break;
          case 1: text.erase(at, 1 + below(8)); break;
          case 2: text.insert(at, text.substr(below(text.size()), 1 + below(40))); break;
          default: text[at] = "<>'\"{}[]:,0/-"[below(13)];
        }
        if (text.empty()) text = " ";
      }
      const auto host = read_host(text, "F");
      if (host) {
        ++hosts;
        static_cast<void>(policy::sgx_report(*host));
        continue;
      }
      ++errors;
      EXPECT_FALSE(host.error().message.empty());
      EXPECT_LE(host.error().at.line, static_cast<u32>(std::ranges::count(text, '\n')) + 1) << text;
      for (const char c : host.error().message) ASSERT_FALSE(c >= 0 && c < ' ') << host.error().message;
    }
  }
  EXPECT_GT(hosts, 500);
  EXPECT_GT(errors, 1000);
}

TEST(LoadHost, NamesTheFileThatCannotBeRead) {
  const auto host = load_host("/nowhere/dump");
  ASSERT_FALSE(host.has_value());
  EXPECT_THAT(host.error(), HasSubstr("/nowhere/dump: cannot read: "));
}

}  // namespace
}  // namespace cloister::toolstack
