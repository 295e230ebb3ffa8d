// The tables of ACPI 6.4, section 5.2, one function a table. They lie one after the other from acpi_base, but for the
// FACS on its own page.
#include "platform/acpi.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

#include "arch/topology.hpp"
#include "platform/acpi_aml.hpp"
#include "platform/apic.hpp"
#include "platform/bytes.hpp"
#include "platform/ioapic.hpp"
#include "platform/pci/host_bridge.hpp"
#include "platform/power.hpp"
#include "platform/pvpanic.hpp"
#include "platform/rtc.hpp"
#include "platform/uart.hpp"

namespace cloister::platform {
namespace {

constexpr std::string_view oem_id = "CLOIST", oem_table_id = "CLOISTER", creator_id = "CLST";
constexpr u32 oem_revision = 1, creator_revision = 1;
constexpr u64 length_at = 4, checksum_at = 9;  // in the header (table 5.4)

u8 checksum(std::span<const u8> bytes) {
  u8 sum = 0;
  for (u8 b : bytes) sum = static_cast<u8>(sum + b);
  return static_cast<u8>(-sum);
}

Bytes begin_table(std::string_view signature, u8 revision) {
  Bytes table;
  append(table, signature);
  append<u32>(table, 0);  // length
  append(table, revision);
  append<u8>(table, 0);  // checksum
  append(table, oem_id);
  append(table, oem_table_id);
  append(table, oem_revision);
  append(table, creator_id);
  append(table, creator_revision);
  return table;
}

Bytes finish(Bytes table) {
  store(table, length_at, static_cast<u32>(table.size()));
  store(table, checksum_at, checksum(table));
  return table;
}

// The host bridge (PCI Firmware 3.3, 4.1.3 and 4.6; ACPI 6.4, 6.2.13), with what it decodes and where each INTA goes;
// and, as ECAM has to be a motherboard's resource (4.1.2), one of those.
Bytes pci_devices(const PciWindows& windows) {
  using namespace aml;
  constexpr u32 any_function = 0xffff;
  std::vector<Bytes> routes;
  for (u32 device = 1; device < pci::most_devices; ++device)
    routes.push_back(package({integer(device << 16 | any_function), integer(0) /* INTA */, integer(0) /* no link */,
                              integer(pci::gsi_of(device))}));
  const Bytes decoded = join({bus_numbers(0, 0), io_ports(pci::address_port, 8),
                              memory_window(windows.low.value, windows.low_bytes, Width::dword),
                              memory_window(windows.high.value, windows.high_bytes, Width::qword)});
  return join(
      {device("PCI0", join({define("_HID", eisa_id("PNP0A08")), define("_CID", eisa_id("PNP0A03")),
                            define("_UID", integer(0)), define("_SEG", integer(0)), define("_BBN", integer(0)),
                            define("_CRS", resources(decoded)), define("_PRT", package(routes))})),
       device("MBRD", join({define("_HID", eisa_id("PNP0C02")), define("_UID", integer(0)),
                            define("_CRS", resources(memory_range(windows.ecam.value, windows.ecam_bytes)))}))});
}

Bytes make_mcfg(const PciWindows& windows) {  // PCI Firmware 3.3, table 4-2
  Bytes table = begin_table("MCFG", 1);
  append<u64>(table, 0);
  append<u64>(table, windows.ecam.value);
  append<u16>(table, 0);  // segment
  append<u8>(table, 0);   // first bus
  append<u8>(table, 0);   // last bus
  append<u32>(table, 0);
  return finish(std::move(table));
}

Bytes make_dsdt(const MemoryMap& map) {
  using namespace aml;
  Bytes devices =
      device("COM1", join({define("_HID", eisa_id("PNP0501")), define("_UID", integer(0)),
                           define("_CRS", resources(join({io_ports(com1_port, 8), edge_interrupt(com1_irq)})))}));
  append(
      devices,
      device("RTC", join({define("_HID", eisa_id("PNP0B00")), define("_UID", integer(0)),
                          define("_CRS", resources(join({io_ports(rtc_index_port, 2), edge_interrupt(rtc_irq)})))})));
  append(devices, device("PEVT", join({define("_HID", string("QEMU0001")), define("_UID", integer(0)),
                                       define("_CRS", resources(io_ports(pvpanic_port, 1)))})));
  if (!map.epc.empty()) {
    constexpr u64 present_and_working = 0xf;  // 6.3.7: present, enabled, shown, functioning
    Bytes ranges;
    for (const EpcRange& epc : map.epc) append(ranges, memory_range(epc.base.value, epc.bytes));
    append(devices,
           device("EPC", join({define("_HID", eisa_id("INT0E0C")), define("_STR", unicode("Enclave Page Cache 1.0")),
                               define("_STA", integer(present_and_working)), define("_CRS", resources(ranges))})));
  }
  if (map.pci) append(devices, pci_devices(*map.pci));
  Bytes table = begin_table("DSDT", 2);  // 2: integers have 64 bits
  for (const auto& [object, type] :
       {std::pair{"\\_S3", SleepType::s3}, {"\\_S4", SleepType::s4}, {"\\_S5", SleepType::s5}}) {
    const Bytes value = integer(static_cast<u64>(type));  // for PM1a and for PM1b, which is not there (7.4.2)
    append(table, define(object, package({value, value, integer(0), integer(0)})));
  }
  append(table, scope("\\_SB", devices));
  return finish(std::move(table));
}

// A Generic Address Structure (table 5.1): registers in I/O space, of so many bits, accessed in units of so many bytes.
void store_ports(Bytes& table, u64 offset, u16 port, u8 bits, u8 unit) {
  constexpr u8 system_io = 1;
  table[offset] = system_io;
  table[offset + 1] = bits;
  table[offset + 3] = unit == 2 ? 2 : 1;  // word access, byte access
  store<u64>(table, offset + 4, port);
}

// Table 5.9. Without SMI_CMD there is no other mode than ACPI's, and without its length no power management timer.
Bytes make_fadt(u64 dsdt) {
  constexpr u64 bytes = 276;
  constexpr u8 revision = 6, minor_revision = 4;
  constexpr u16 no_vga = 1 << 2;  // IAPC_BOOT_ARCH (table 5.11); no 8042, no legacy devices
  constexpr u16 no_c2 = 101, no_c3 = 1001;
  constexpr u32 wbinvd = 1 << 0, proc_c1 = 1 << 2, no_sleep_button = 1 << 5, no_fixed_rtc = 1 << 6,
                reset_reg_sup = 1 << 10, headless = 1 << 12;  // table 5.10; the power button is a fixed one
  Bytes table = begin_table("FACP", revision);
  table.resize(bytes);
  store<u16>(table, 46, sci_gsi);
  store<u32>(table, 56, pm1_event_port);
  store<u32>(table, 64, pm1_control_port);
  table[88] = pm1_event_bytes;
  table[89] = pm1_control_bytes;
  store<u16>(table, 96, no_c2);
  store<u16>(table, 98, no_c3);
  table[108] = rtc_century;
  store<u16>(table, 109, no_vga);
  store<u32>(table, 112, wbinvd | proc_c1 | no_sleep_button | no_fixed_rtc | reset_reg_sup | headless);
  store_ports(table, 116, reset_port, 8, 1);
  table[128] = reset_value;
  table[131] = minor_revision;
  store<u64>(table, 132, facs_base);
  store<u64>(table, 140, dsdt);
  store_ports(table, 148, pm1_event_port, 8 * pm1_event_bytes, 2);
  store_ports(table, 172, pm1_control_port, 8 * pm1_control_bytes, 2);
  return finish(std::move(table));
}

Bytes make_facs() {
  Facs facs;
  Bytes table(sizeof facs);
  std::memcpy(table.data(), &facs, sizeof facs);
  return table;
}

Bytes make_madt(u32 vcpus) {  // 5.2.12
  constexpr u8 local_apic = 0, io_apic = 1, source_override = 2, local_apic_nmi = 4, all_processors = 0xff, lint1 = 1;
  constexpr u16 level_and_high = 0xd;  // table 5.26
  constexpr u32 enabled = 1;
  Bytes table = begin_table("APIC", 5);
  append<u32>(table, apic_default_base);
  append<u32>(table, 0);  // no dual 8259
  for (u32 id = 0; id < vcpus; ++id) {
    for (u8 b : {local_apic, u8{8}, static_cast<u8>(id) /* UID */, static_cast<u8>(id)}) append(table, b);
    append(table, enabled);
  }
  for (u8 b : {io_apic, u8{12}, static_cast<u8>(vcpus) /* ID */, u8{0}}) append(table, b);
  append<u32>(table, ioapic_base);
  append<u32>(table, 0);  // first global system interrupt
  for (u8 b : {source_override, u8{10}, u8{0} /* ISA */, u8{sci_gsi}}) append(table, b);
  append<u32>(table, sci_gsi);
  append<u16>(table, level_and_high);
  for (u8 b : {local_apic_nmi, u8{6}, all_processors, u8{0}, u8{0} /* flags: as the bus has it */, lint1})
    append(table, b);
  return finish(std::move(table));
}

// 5.2.16. Linux looks for the node of an EPC section here, and numbers nodes in the order in which it reads them,
// processors first. A node's processors are a package, as CPUID has it.
Bytes make_srat(const AcpiConfig& config) {
  constexpr u8 processor = 0, memory = 1;
  constexpr u32 enabled = 1;
  const u32 of_node = arch::ids_of_package(config.vcpus, nodes_of(config.map));
  Bytes table = begin_table("SRAT", 3);
  append<u32>(table, 1);
  append<u64>(table, 0);
  for (u32 id = 0; id < config.vcpus; ++id) {
    for (u8 b : {processor, u8{16}, static_cast<u8>(id / of_node), static_cast<u8>(id)}) append(table, b);
    append(table, enabled);
    append<u64>(table, 0);  // SAPIC EID, rest of the node, clock domain
  }
  auto add_memory = [&table](u64 base, u64 bytes, u32 node) {
    append(table, memory);
    append<u8>(table, 40);
    append<u32>(table, node);
    append<u16>(table, 0);
    append(table, base);
    append(table, bytes);
    append<u32>(table, 0);
    append(table, enabled);
    append<u64>(table, 0);
  };
  for (const NodeRange& ram : ram_by_node(config.map)) add_memory(ram.base.value, ram.bytes, ram.node);
  for (const EpcRange& epc : config.map.epc) add_memory(epc.base.value, epc.bytes, epc.node);
  return finish(std::move(table));
}

Bytes make_xsdt(std::span<const u64> tables) {
  Bytes table = begin_table("XSDT", 1);
  for (u64 address : tables) append(table, address);
  return finish(std::move(table));
}

Bytes make_rsdp(u64 xsdt) {  // table 5.3
  constexpr u8 revision = 2;
  constexpr u64 first_part = 20, bytes = 36;
  Bytes table;
  append(table, std::string_view("RSD PTR "));
  append<u8>(table, 0);
  append(table, oem_id);
  append(table, revision);
  append<u32>(table, 0);  // no RSDT
  append<u32>(table, bytes);
  append(table, xsdt);
  append<u32>(table, 0);
  store(table, 8, checksum(std::span(table).first(first_part)));
  store(table, 32, checksum(table));
  return table;
}

}  // namespace

AcpiTables make_acpi(const AcpiConfig& config) {
  constexpr u64 alignment = 64;
  constexpr u64 rsdp_bytes = 64;  // the RSDP comes first, written last
  AcpiTables result;
  result.rsdp = arch::Gpa{acpi_base};
  result.image.resize(rsdp_bytes);
  auto place = [&image = result.image](const Bytes& table) {
    const u64 offset = align_up(image.size(), alignment);
    image.resize(offset);
    append(image, table);
    return acpi_base + offset;
  };
  const u64 dsdt = place(make_dsdt(config.map));
  std::vector<u64> tables{place(make_fadt(dsdt)), place(make_madt(config.vcpus)), place(make_srat(config))};
  if (config.map.pci) tables.push_back(place(make_mcfg(*config.map.pci)));
  const u64 xsdt = place(make_xsdt(tables));
  const Bytes rsdp = make_rsdp(xsdt);
  std::copy(rsdp.begin(), rsdp.end(), result.image.begin());
  result.image.resize(facs_base - acpi_base);
  append(result.image, make_facs());
  return result;
}

}  // namespace cloister::platform
