// Reading descriptors and loading segment registers (SDM vol. 3A, 3.4.3, 5.4 to 5.7).
#include "silicon/isa/system/descriptor.hpp"

#include "arch/try.hpp"
#include "silicon/mmu/mode_change.hpp"

namespace cloister::silicon {

namespace v = arch::vector;

namespace {
u64 table_base(const Cpu& cpu, Selector s) { return s.local() ? cpu.ldtr.base : cpu.gdtr.base; }
}  // namespace

tl::expected<Descriptor, Miss> read_descriptor(Cpu& cpu, Selector s, bool wide, u8 vector, u32 ext) {
  const u32 bytes = wide ? 16 : 8;
  const bool no_ldt = s.local() && (cpu.ldtr.attributes & attr::unusable) != 0;
  const u64 limit = s.local() ? cpu.ldtr.limit : cpu.gdtr.limit;
  if (no_ldt || u64{s.offset()} + bytes - 1 > limit) return tl::unexpected(fault_miss(vector, s.error() | ext));
  u64 raw[2] = {0, 0};
  Miss m;
  if (!system_read(cpu, table_base(cpu, s) + s.offset(), raw, bytes, m)) return tl::unexpected(m);
  return Descriptor{raw[0], raw[1]};
}

tl::expected<void, Miss> mark_accessed(Cpu& cpu, Selector s, Descriptor& d) {
  if ((d.type() & attr::accessed) != 0) return {};
  d.low |= u64{attr::accessed} << 40;
  const u8 byte = static_cast<u8>(d.low >> 40);
  Miss m;
  if (!system_write(cpu, table_base(cpu, s) + s.offset() + 5, &byte, 1, m)) return tl::unexpected(m);
  return {};
}

tl::expected<void, Miss> mark_busy(Cpu& cpu, Selector s, bool busy) {
  u8 byte = 0;
  Miss m;
  const u64 place = table_base(cpu, s) + s.offset() + 5;
  if (!system_read(cpu, place, &byte, 1, m)) return tl::unexpected(m);
  byte = static_cast<u8>(busy ? byte | 2 : byte & ~2);
  if (!system_write(cpu, place, &byte, 1, m)) return tl::unexpected(m);
  return {};
}

tl::expected<void, Miss> load_data_segment(Cpu& cpu, arch::SegReg reg, u16 selector) {
  if (!cpu.protected_mode()) {
    cpu.seg[reg].selector = selector;
    cpu.seg[reg].base = u64{selector} << 4;
    update_mode(cpu);
    return {};
  }
  const Selector s{selector};
  if (reg == arch::seg_ss) {
    if (s.null()) {
      // 64-bit mode takes a null SS below CPL 3 whose RPL is the CPL.
      if (!cpu.code64 || cpu.cpl == 3 || s.rpl() != cpu.cpl) return tl::unexpected(fault_miss(v::gp, 0));
      cpu.seg[reg] = null_segment(selector);
      cpu.seg[reg].attributes |= cpu.cpl << 5;
      update_mode(cpu);
      return {};
    }
    cpu.seg[reg] = TRY(check_stack_segment(cpu, selector, cpu.cpl, v::gp, 0));
    update_mode(cpu);
    return {};
  }
  if (s.null()) {
    cpu.seg[reg] = null_segment(selector);
    update_mode(cpu);
    return {};
  }
  auto d = TRY(read_descriptor(cpu, s, false));
  const bool readable_code = d.is_code() && (d.type() & attr::readable) != 0;
  if (!d.is_data() && !readable_code) return tl::unexpected(fault_miss(v::gp, s.error()));
  const bool checked = d.is_data() || !d.conforming();
  if (checked && (s.rpl() > d.dpl() || cpu.cpl > d.dpl())) return tl::unexpected(fault_miss(v::gp, s.error()));
  if (!d.present()) return tl::unexpected(fault_miss(v::np, s.error()));
  TRY(mark_accessed(cpu, s, d));
  cpu.seg[reg] = d.segment(selector);
  update_mode(cpu);
  return {};
}

tl::expected<Segment, Miss> check_stack_segment(Cpu& cpu, u16 selector, unsigned cpl, u8 vector, u32 ext) {
  const Selector s{selector};
  if (s.null()) return tl::unexpected(fault_miss(vector, ext));
  auto d = TRY(read_descriptor(cpu, s, false, vector, ext));
  const bool writable = d.is_data() && (d.type() & attr::writable) != 0;
  if (s.rpl() != cpl || !writable || d.dpl() != cpl) return tl::unexpected(fault_miss(vector, s.error() | ext));
  if (!d.present()) return tl::unexpected(fault_miss(v::ss, s.error() | ext));
  TRY(mark_accessed(cpu, s, d));
  return d.segment(selector);
}

tl::expected<TssStack, Miss> tss_stack(Cpu& cpu, unsigned cpl, unsigned ist, u32 ext) {
  const u32 type = cpu.tr.attributes & attr::type;
  const bool wide = cpu.long_mode();
  const bool tss32 = type == system_type::tss || type == system_type::tss_busy;
  // SDM vol. 3A, figures 8-11 (64-bit: RSP0 at 4, IST1 at 36), 8-2 (32-bit: ESP0 at 4), 8-10 (16-bit: SP0 at 2).
  const u32 offset = wide ? (ist != 0 ? 28 + 8 * ist : 4 + 8 * cpl) : (tss32 ? 4 + 8 * cpl : 2 + 4 * cpl);
  const u32 bytes = wide ? 8 : (tss32 ? 6 : 4);
  if ((cpu.tr.attributes & attr::unusable) != 0 || offset + bytes - 1 > cpu.tr.limit) {
    return tl::unexpected(fault_miss(v::ts, Selector{cpu.tr.selector}.error() | ext));
  }
  u8 raw[8] = {};
  Miss m;
  if (!system_read(cpu, cpu.tr.base + offset, raw, bytes, m)) return tl::unexpected(m);
  TssStack stack{0, 0};
  if (wide) {
    std::memcpy(&stack.sp, raw, 8);
  } else if (tss32) {
    std::memcpy(&stack.sp, raw, 4);
    std::memcpy(&stack.ss, raw + 4, 2);
  } else {
    std::memcpy(&stack.sp, raw, 2);
    std::memcpy(&stack.ss, raw + 2, 2);
  }
  return stack;
}

}  // namespace cloister::silicon
