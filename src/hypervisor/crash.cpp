// Everything is read through interface 1; nothing in the guest changes.
#include "hypervisor/crash.hpp"

#include <fmt/format.h>

#include "hypervisor/instruction.hpp"

namespace cloister::hypervisor {
namespace {

using fmt::format_to;
using Out = std::back_insert_iterator<std::string>;

constexpr const char* gpr_names[] = {"RAX", "RCX", "RDX", "RBX", "RSP", "RBP", "RSI", "RDI",
                                     "R8 ", "R9 ", "R10", "R11", "R12", "R13", "R14", "R15"};
constexpr const char* segment_names[] = {"ES", "CS", "SS", "DS", "FS", "GS"};

void segment_line(Out out, const char* name, const vmx::Segment& s) {
  format_to(out, "  {:<4} {:04x} base {:016x} limit {:08x} attributes {:05x}\n", name, s.selector, s.base, s.limit,
            s.attributes);
}

void code_lines(Out out, Processor& processor, const vmx::GeneralRegs& general, const vmx::SystemRegs& system) {
  u8 code[16];
  const auto paging = PagingState::of(system, general.rflags, processor.machine.physical_bits);
  const std::size_t n = debug_read(processor.machine.memory, paging, linear_rip(general, system), code);
  const auto bytes = std::span(code).first(n);
  format_to(out, "  code {:02x}\n", fmt::join(bytes, " "));
  format_to(out, "       {}\n", disassemble(bytes, code_bits(system), general.rip));
}

void exit_lines(Out out, const Processor& processor) {
  format_to(out, "last exits:\n");
  for (const auto& [time, rip, exit] : processor.exits.entries())
    format_to(out, "  {:>14} {:<18} rip {:016x} qualification {:#x} linear {:#x} physical {:#x}\n", time,
              vmx::name_of(exit.reason), rip, exit.qualification, exit.linear.value, exit.physical.value);
}

}  // namespace

std::string crash_report(Processor& processor, const std::string& reason) {
  const vmx::GeneralRegs general = processor.vcpu.general();
  const vmx::SystemRegs system = processor.vcpu.system();
  std::string text;
  const Out out(text);
  format_to(out, "domain {}: {}\n", processor.machine.spec.name, reason);
  if (processor.machine.spec.vcpus > 1) format_to(out, "vCPU {}, ", processor.id);
  format_to(out, "after {} instructions, TSC {}, {}-bit code, CPL {}\n", processor.vcpu.instructions(),
            processor.vcpu.tsc(), code_bits(system), system.cpl);
  for (unsigned i = 0; i < 16; ++i)
    format_to(out, "  {} {:016x}{}", gpr_names[i], general.gpr[i], i % 4 == 3 ? "\n" : "");
  format_to(out, "  RIP {:016x}  RFLAGS {:016x}\n", general.rip, general.rflags);
  code_lines(out, processor, general, system);
  for (unsigned i = 0; i < arch::seg_count; ++i) segment_line(out, segment_names[i], system.seg[i]);
  segment_line(out, "LDTR", system.ldtr);
  segment_line(out, "TR", system.tr);
  format_to(out, "  GDTR {:016x} {:04x}  IDTR {:016x} {:04x}\n", system.gdtr.base, system.gdtr.limit, system.idtr.base,
            system.idtr.limit);
  format_to(out, "  CR0 {:016x}  CR2 {:016x}  CR3 {:016x}  CR4 {:016x}\n", system.cr0, system.cr2, system.cr3,
            system.cr4);
  format_to(out, "  CR8 {:016x}  EFER {:08x}  XCR0 {:x}  DR6 {:08x}  DR7 {:08x}\n", u64{processor.local_apic.cr8()},
            system.efer, system.xcr0, system.dr6, system.dr7);
  exit_lines(out, processor);
  return text;
}

}  // namespace cloister::hypervisor
