// The ACPI tables as an operating system finds them: from the RSDP on, by pointers and lengths (ACPI 6.4, 5.2). Where
// ACPICA's iasl is installed it takes the AML apart as well.
#include "platform/acpi.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <numeric>

#include "platform/acpi_aml.hpp"
#include "platform/bytes.hpp"
#include "platform/ioapic.hpp"
#include "platform/power.hpp"
#include "platform/rtc.hpp"

namespace cloister::platform {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr u64 mib = u64{1} << 20;

u8 sum(std::span<const u8> bytes) { return std::accumulate(bytes.begin(), bytes.end(), u8{0}); }

class Tables {
 public:
  explicit Tables(u32 vcpus = 1, u64 epc = 64 * mib, u64 memory = 512 * mib)
      : Tables(vcpus, make_memory_map(memory, epc, 46).value()) {}
  Tables(u32 vcpus, MemoryMap map) : map_(std::move(map)), acpi_(make_acpi({vcpus, map_})) {
    const Bytes rsdp = at(acpi_.rsdp.value, 36);
    const Bytes xsdt = table(load<u64>(rsdp, 24));
    by_name_["RSDP"] = rsdp;
    by_name_["XSDT"] = xsdt;
    for (u64 i = 36; i < xsdt.size(); i += 8) add(load<u64>(xsdt, i));
    add(load<u64>(by_name_.at("FACP"), 140));
  }
  const Bytes& operator[](const std::string& name) const { return by_name_.at(name); }
  bool has(const std::string& name) const { return by_name_.contains(name); }
  Bytes at(u64 address, u64 bytes) const {
    EXPECT_TRUE(within(address - acpi_base, bytes, acpi_.image.size()));
    const auto begin = acpi_.image.begin() + static_cast<std::ptrdiff_t>(address - acpi_base);
    return {begin, begin + static_cast<std::ptrdiff_t>(bytes)};
  }
  const MemoryMap& map() const { return map_; }
  const AcpiTables& acpi() const { return acpi_; }

 private:
  Bytes table(u64 address) const { return at(address, load<u32>(at(address, 8), 4)); }
  void add(u64 address) {
    const Bytes bytes = table(address);
    by_name_[std::string(bytes.begin(), bytes.begin() + 4)] = bytes;
  }
  MemoryMap map_;
  AcpiTables acpi_;
  std::map<std::string, Bytes> by_name_;
};

// The sub-tables of a MADT or SRAT: type, length, and so on.
std::vector<Bytes> subtables(const Bytes& table, u64 at) {
  std::vector<Bytes> result;
  while (at < table.size()) {
    const u8 length = table[at + 1];
    EXPECT_TRUE(length >= 2 && within(at, length, table.size()));
    if (length < 2) break;
    result.emplace_back(table.begin() + static_cast<std::ptrdiff_t>(at),
                        table.begin() + static_cast<std::ptrdiff_t>(at + length));
    at += length;
  }
  return result;
}

TEST(Acpi, RsdpIsWhereLegacyScansLookForIt) {  // 5.2.5.1: 16-byte boundary in 0xE0000-0xFFFFF
  const Tables tables;
  const Bytes& rsdp = tables["RSDP"];
  EXPECT_EQ(std::string(rsdp.begin(), rsdp.begin() + 8), "RSD PTR ");
  EXPECT_EQ(tables.acpi().rsdp.value % 16, 0u);
  EXPECT_EQ(rsdp[15], 2);
  EXPECT_EQ(load<u32>(rsdp, 20), 36u);
  EXPECT_EQ(sum(std::span(rsdp).first(20)), 0);
  EXPECT_EQ(sum(rsdp), 0);
}

TEST(Acpi, EveryChecksumIsRightForEverySize) {
  for (u32 vcpus : {1u, 2u, 64u, 255u})
    for (u64 epc : {u64{0}, 64 * mib, 4096 * mib}) {
      const Tables tables(vcpus, epc);
      for (const char* name : {"XSDT", "FACP", "APIC", "SRAT", "DSDT"}) EXPECT_EQ(sum(tables[name]), 0) << name;
      EXPECT_LE(tables.acpi().image.size(), acpi_bytes);
    }
}

TEST(Acpi, FadtHasTheFixedRegisters) {  // table 5.9, 5.10
  const Tables tables;
  const Bytes& fadt = tables["FACP"];
  ASSERT_EQ(fadt.size(), 276u);
  EXPECT_EQ(fadt[8], 6);
  const u32 flags = load<u32>(fadt, 112);
  EXPECT_FALSE(flags & 1 << 20) << "HW_REDUCED_ACPI: Linux loads no FACS then";
  EXPECT_TRUE(flags & 1 << 10) << "RESET_REG_SUP";
  EXPECT_TRUE(flags & 1 << 6) << "FIX_RTC: its alarm has no status among the fixed registers";
  EXPECT_FALSE(flags & 1 << 4) << "PWR_BUTTON: it has";
  EXPECT_EQ(load<u32>(fadt, 48), 0u) << "SMI_CMD: it is in ACPI mode always";
  EXPECT_EQ(load<u16>(fadt, 46), sci_gsi);
  EXPECT_FALSE(load<u16>(fadt, 109) & 1 << 5) << "CMOS RTC not present";
  EXPECT_EQ(fadt[108], rtc_century);
  EXPECT_EQ(fadt[128], reset_value);
  EXPECT_THAT(std::span(fadt).subspan(116, 4), ElementsAre(1, 8, 0, 1));  // I/O space, 8 bits, byte access
  EXPECT_EQ(load<u64>(fadt, 120), reset_port);
  EXPECT_EQ(load<u32>(fadt, 56), pm1_event_port);
  EXPECT_EQ(fadt[88], 4);
  EXPECT_THAT(std::span(fadt).subspan(148, 4), ElementsAre(1, 32, 0, 2));  // word access
  EXPECT_EQ(load<u64>(fadt, 152), pm1_event_port);
  EXPECT_EQ(load<u32>(fadt, 64), pm1_control_port);
  EXPECT_EQ(fadt[89], 2);
  EXPECT_THAT(std::span(fadt).subspan(172, 4), ElementsAre(1, 16, 0, 2));
  EXPECT_EQ(load<u64>(fadt, 176), pm1_control_port);
  EXPECT_EQ(fadt[91], 0) << "no power management timer";
}

TEST(Acpi, MadtSaysThatTheSciIsActiveHigh) {  // 5.2.12.5, table 5.26
  const Tables tables;
  const std::vector<Bytes> all = subtables(tables["APIC"], 44);
  const auto found = std::ranges::find(all, u8{2}, [](const Bytes& one) { return one[0]; });
  ASSERT_NE(found, all.end());
  EXPECT_THAT(*found, ElementsAre(2, 10, 0, sci_gsi, sci_gsi, 0, 0, 0, 0xd, 0));
}

TEST(Acpi, FacsIsAlignedAndInNvsMemory) {  // 5.2.10
  const Tables tables;
  const u64 address = load<u64>(tables["FACP"], 132);
  const Bytes facs = tables.at(address, 64);
  EXPECT_EQ(address % 64, 0u);
  EXPECT_EQ(std::string(facs.begin(), facs.begin() + 4), "FACS");
  EXPECT_EQ(load<u32>(facs, 4), 64u);
  const auto& entries = tables.map().entries;
  const auto home = std::find_if(entries.begin(), entries.end(), [&](const MapEntry& e) {
    return address >= e.base.value && address + 64 <= e.base.value + e.bytes;
  });
  ASSERT_NE(home, entries.end());
  EXPECT_EQ(home->type, MapType::nvs);
}

TEST(Acpi, TablesLieInAcpiMemory) {
  const Tables tables(255);
  const u64 last = load<u64>(tables["RSDP"], 24) + tables["XSDT"].size();
  EXPECT_LE(last, facs_base);
}

TEST(Acpi, MadtHasEachLocalApicAndTheIoApic) {  // 5.2.12.2, 5.2.12.3
  const Tables tables(3);
  const Bytes& madt = tables["APIC"];
  EXPECT_EQ(load<u32>(madt, 36), apic_default_base);
  EXPECT_EQ(load<u32>(madt, 40), 0u);  // no 8259s
  std::vector<u8> processors;
  unsigned io_apics = 0;
  for (const Bytes& entry : subtables(madt, 44)) {
    if (entry[0] == 0) {
      processors.push_back(entry[3]);
      EXPECT_EQ(load<u32>(entry, 4), 1u);
    } else if (entry[0] == 1) {
      ++io_apics;
      EXPECT_EQ(entry[2], 3);
      EXPECT_EQ(load<u32>(entry, 4), ioapic_base);
      EXPECT_EQ(load<u32>(entry, 8), 0u);
    }
  }
  EXPECT_THAT(processors, ElementsAre(0, 1, 2));
  EXPECT_EQ(io_apics, 1u);
}

TEST(Acpi, SratPutsProcessorsRamAndEpcInOneNode) {  // 5.2.16.1, 5.2.16.2
  const Tables tables(2, 64 * mib, 4096 * mib);
  std::vector<std::pair<u64, u64>> ranges;
  unsigned processors = 0;
  for (const Bytes& entry : subtables(tables["SRAT"], 48)) {
    if (entry[0] == 0) {
      EXPECT_EQ(entry[3], processors++);
      EXPECT_EQ(load<u32>(entry, 4), 1u);
    } else {
      ASSERT_EQ(entry[0], 1);
      EXPECT_EQ(load<u32>(entry, 2), 0u);
      EXPECT_EQ(load<u32>(entry, 28), 1u);  // enabled
      ranges.emplace_back(load<u64>(entry, 8), load<u64>(entry, 16));
    }
  }
  EXPECT_EQ(processors, 2u);
  const auto epc = tables.map().epc.at(0);
  EXPECT_THAT(ranges, ElementsAre(std::pair{u64{0}, 3072 * mib}, std::pair{4096 * mib, 1024 * mib},
                                  std::pair{epc.base.value, epc.bytes}));
}

// 5.2.16.1 and 5.2.16.2: proximity domains of processors (byte 2) and of memory (bytes 2 to 5).
TEST(Acpi, SratHasEachEpcSectionAndAShareOfRamAndProcessorsInItsNode) {
  const EpcSize sections[] = {{64 * mib, 1}, {32 * mib, 0}};
  const Tables tables(3, make_memory_map(512 * mib, sections, 46).value());
  std::vector<u8> processors;
  std::vector<NodeRange> memory;
  for (const Bytes& entry : subtables(tables["SRAT"], 48)) {
    if (entry[0] == 0) {
      processors.push_back(entry[2]);
    } else {
      EXPECT_EQ(load<u32>(entry, 28), 1u) << "enabled, neither hot-pluggable nor non-volatile";
      memory.push_back({arch::Gpa{load<u64>(entry, 8)}, load<u64>(entry, 16), load<u32>(entry, 2)});
    }
  }
  EXPECT_THAT(processors, ElementsAre(0, 0, 1)) << "two of a package, as their APIC IDs say";
  constexpr u64 high = u64{4} << 30;
  EXPECT_THAT(memory,
              ElementsAre(NodeRange{arch::Gpa{0}, 256 * mib, 0}, NodeRange{arch::Gpa{256 * mib}, 256 * mib, 1},
                          NodeRange{arch::Gpa{high}, 64 * mib, 1}, NodeRange{arch::Gpa{high + 64 * mib}, 32 * mib, 0}));
}

Tables with_pci() {
  MemoryMap map = make_memory_map(512 * mib, 64 * mib, 46).value();
  EXPECT_TRUE(add_pci(map, 46));
  return {1, std::move(map)};
}

// PCI Firmware 3.3, 4.1.2. Without a bus all is as if there had never been one.
TEST(Acpi, McfgSaysWhereConfigurationSpaceIs) {
  EXPECT_FALSE(Tables().has("MCFG"));
  const Tables tables = with_pci();
  const Bytes& mcfg = tables["MCFG"];
  ASSERT_EQ(mcfg.size(), 60u);
  EXPECT_EQ(sum(mcfg), 0);
  EXPECT_EQ(load<u64>(mcfg, 44), tables.map().pci->ecam.value);
  EXPECT_EQ(load<u64>(mcfg, 52), 0u) << "segment 0, bus 0 to 0";
  EXPECT_EQ(sum(tables["DSDT"]), 0);
}

TEST(Aml, EncodesPackageLengths) {  // 20.2.4
  EXPECT_THAT(aml::package({}), ElementsAre(0x12, 2, 0));
  auto lead = [](std::size_t body) {
    const Bytes term = aml::buffer(Bytes(body));
    return Bytes(term.begin() + 1, term.begin() + 4);
  };
  EXPECT_EQ(lead(60)[0], 63);                              // 1 + 2 (size) + 60
  EXPECT_THAT(lead(61), ElementsAre(0x41, 0x04, 0x0a));    // 65 = 2 + 2 + 61
  EXPECT_THAT(lead(300), ElementsAre(0x41, 0x13, 0x0b));   // 305 = 0x131 = 2 + 3 + 300
  EXPECT_THAT(lead(5000), ElementsAre(0x8e, 0x38, 0x01));  // 5006 = 0x138e = 3 + 3 + 5000
}

TEST(Aml, EncodesIntegersAsShortAsTheyGo) {  // 20.2.3
  EXPECT_THAT(aml::integer(0), ElementsAre(0x00));
  EXPECT_THAT(aml::integer(1), ElementsAre(0x01));
  EXPECT_THAT(aml::integer(0xff), ElementsAre(0x0a, 0xff));
  EXPECT_THAT(aml::integer(0x100), ElementsAre(0x0b, 0x00, 0x01));
  EXPECT_THAT(aml::integer(0x10000), ElementsAre(0x0c, 0x00, 0x00, 0x01, 0x00));
  EXPECT_THAT(aml::integer(u64{1} << 32), ElementsAre(0x0e, 0, 0, 0, 0, 1, 0, 0, 0));
}

TEST(Aml, CompressesEisaIds) {  // 19.6.36: PNP0501 is the DWORD 0x0105D041
  EXPECT_THAT(aml::eisa_id("PNP0501"), ElementsAre(0x0c, 0x41, 0xd0, 0x05, 0x01));
  EXPECT_THAT(aml::eisa_id("INT0E0C"), ElementsAre(0x0c, 0x25, 0xd4, 0x0e, 0x0c));
}

std::string disassemble(const Tables& tables) {
  const auto folder = std::filesystem::path(::testing::TempDir()) / ("acpi." + std::to_string(::getpid()));
  std::filesystem::create_directories(folder);
  const Bytes& dsdt = tables["DSDT"];
  std::ofstream(folder / "dsdt.aml", std::ios::binary)
      .write(reinterpret_cast<const char*>(dsdt.data()), static_cast<std::streamsize>(dsdt.size()));
  const std::string command = "cd '" + folder.string() +
                              "' && iasl -d dsdt.aml >log 2>&1 && cp dsdt.dsl again.asl && iasl again.asl >>log 2>&1";
  EXPECT_EQ(std::system(command.c_str()), 0);
  auto slurp = [&](const char* name) {
    std::ifstream file(folder / name);
    return std::string(std::istreambuf_iterator<char>(file), {});
  };
  EXPECT_THAT(slurp("log"), HasSubstr("0 Errors, 0 Warnings"));
  const std::string text = slurp("dsdt.dsl");
  std::filesystem::remove_all(folder);
  return text;
}

TEST(Aml, DsdtIsWhatAcpicaUnderstands) {
  if (std::system("iasl -v >/dev/null 2>&1") != 0) GTEST_SKIP() << "iasl (package acpica-tools) is not installed";
  const std::string with_epc = disassemble(Tables());
  for (const char* sleep : {"_S3", "_S4", "_S5"})
    EXPECT_THAT(with_epc, HasSubstr("Name (\\" + std::string(sleep) + ", Package (0x04)"));
  EXPECT_THAT(with_epc, HasSubstr("EisaId (\"PNP0501\")"));
  EXPECT_THAT(with_epc, HasSubstr("Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive"));
  EXPECT_THAT(with_epc, HasSubstr("EisaId (\"INT0E0C\")"));
  EXPECT_THAT(with_epc, HasSubstr("Unicode (\"Enclave Page Cache 1.0\")"));
  EXPECT_THAT(with_epc, HasSubstr("0x0000000100000000, // Range Minimum"));
  EXPECT_THAT(with_epc, HasSubstr("0x0000000103FFFFFF, // Range Maximum"));
  EXPECT_THAT(with_epc, HasSubstr("0x0000000004000000, // Length"));
  EXPECT_THAT(with_epc, HasSubstr("EisaId (\"PNP0B00\")"));
  EXPECT_THAT(with_epc, HasSubstr("IO (Decode16,\n                    0x0070,             // Range Minimum"));
  EXPECT_THAT(with_epc, HasSubstr("\"QEMU0001\""));
  EXPECT_THAT(with_epc, HasSubstr("0x0505,             // Range Minimum"));
  const std::string without = disassemble(Tables(1, 0));
  EXPECT_THAT(without, HasSubstr("PNP0501"));
  EXPECT_THAT(without, Not(HasSubstr("INT0E0C")));
  EXPECT_THAT(without, Not(HasSubstr("PNP0A08")));
  const std::string bus = disassemble(with_pci());
  EXPECT_THAT(bus, HasSubstr("EisaId (\"PNP0A08\")"));
  EXPECT_THAT(bus, HasSubstr("WordBusNumber (ResourceProducer, MinFixed, MaxFixed, PosDecode"));
  EXPECT_THAT(bus, HasSubstr("DWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, NonCacheable, ReadWrite"));
  EXPECT_THAT(bus, HasSubstr("QWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, Prefetchable, ReadWrite"));
  EXPECT_THAT(bus, HasSubstr("Package (0x1F)")) << "_PRT";
}

}  // namespace
}  // namespace cloister::platform
