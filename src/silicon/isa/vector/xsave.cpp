// XSAVE, XSAVEC, XSAVEOPT, XSAVES, XRSTOR, XRSTORS and XGETBV (SDM vol. 1, 13.7 to 13.12): see xsave.hpp.
#include "silicon/isa/vector/xsave.hpp"

#include <algorithm>
#include <vector>

#include "silicon/isa/vector/fxsave.hpp"
#include "silicon/isa/vector/rows.hpp"
#include "silicon/isa/vector_access.hpp"
#include "silicon/isa/x87/x87.hpp"

namespace cloister::silicon {

u64 xinuse(const FpuState& fpu) {
  const bool x87_initial =
      fpu.control == x87::control_initial && fpu.status == 0 && fpu.top == 0 && fpu.valid == 0 && fpu.opcode == 0 &&
      fpu.instruction == 0 && fpu.operand == 0 &&
      std::ranges::all_of(fpu.st, [](const Float80& v) { return v.mantissa == 0 && v.sign_exponent == 0; });
  const auto zero = [](const Xmm& x) { return x.byte == Xmm{}.byte; };
  return (x87_initial ? 0 : xstate::x87) | (std::ranges::all_of(fpu.xmm, zero) ? 0 : xstate::sse) |
         (std::ranges::all_of(fpu.upper, zero) ? 0 : xstate::avx);
}

void init_x87_component(FpuState& fpu) {
  x87_init(fpu);
  fpu.st.fill({});
}

void init_sse_component(FpuState& fpu, bool sixteen_registers) {
  std::fill_n(fpu.xmm.begin(), sixteen_registers ? 16 : 8, Xmm{});
}

void init_avx_component(FpuState& fpu, bool sixteen_registers) {
  std::fill_n(fpu.upper.begin(), sixteen_registers ? 16 : 8, Xmm{});
}

void write_avx_image(const FpuState& fpu, bool sixteen_registers, u8* component) {
  std::memcpy(component, fpu.upper.data(), sixteen_registers ? 256 : 128);
}

void read_avx_image(FpuState& fpu, bool sixteen_registers, const u8* component) {
  std::memcpy(static_cast<void*>(fpu.upper.data()), component, sixteen_registers ? 256 : 128);
}

namespace {

using Area = std::array<u8, xstate::area_bytes>;

enum class Variant : u8 { standard, optimized, compacted, supervisor };

u64 header(const Area& area, unsigned word) {
  u64 v;
  std::memcpy(&v, area.data() + xstate::legacy_bytes + 8 * word, 8);
  return v;
}
void set_header(Area& area, unsigned word, u64 v) { std::memcpy(area.data() + xstate::legacy_bytes + 8 * word, &v, 8); }

/// RFBM. IA32_XSS is 0, so the supervisor forms have the same.
u64 requested(const Cpu& cpu) { return cpu.xcr0 & ((cpu.gpr[arch::rdx] << 32) | static_cast<u32>(cpu.gpr[arch::rax])); }

FxsaveForm form_of(const Cpu& cpu, const Op* op) { return {op->dst != 0, cpu.code64}; }

bool ready(Cpu& cpu, const Op* op, bool supervisor) {
  if ((cpu.cr4 & arch::cr4::osxsave) == 0) {
    raise_ud(cpu, op);
  } else if (supervisor && cpu.cpl != 0) {
    raise_gp(cpu, op);
  } else if ((cpu.cr0 & arch::cr0::ts) != 0) {
    raise_nm(cpu, op);
  } else {
    return true;
  }
  return false;
}

bool area_address(Cpu& cpu, const Op* op, unsigned bytes, Access access, u64& linear) {
  if (!operand_address<From::memory>(cpu, op, bytes, access, linear)) return false;
  if (linear % 64 == 0) return true;
  raise_misaligned(cpu, op, linear);
  return false;
}

/// What an instruction of the XSAVE family writes.
struct Saving {
  u64 components = 0;    ///< whose state is written
  u64 present = 0;       ///< XSTATE_BV's bits
  bool control = false;  ///< MXCSR is written
  bool compacts = false;
};

Saving plan(const Cpu& cpu, Variant variant) {
  const u64 rfbm = requested(cpu), in_use = rfbm & xinuse(cpu.fpu);
  Saving s{.components = variant == Variant::standard ? rfbm : in_use, .present = in_use};
  s.compacts = variant == Variant::compacted || variant == Variant::supervisor;
  if (s.compacts) {
    // MXCSR belongs to the SSE component here, which is not initial if MXCSR is not (13.10).
    if ((rfbm & xstate::sse) != 0 && guest_mxcsr(cpu) != mxcsr::initial) s.components = s.present |= xstate::sse;
    s.control = (s.components & xstate::sse) != 0;
  } else {
    s.control = (rfbm & (xstate::sse | xstate::avx)) != 0;  // 13.7
  }
  return s;
}

void write_area(const Cpu& cpu, FxsaveForm form, const Saving& saving, Area& area) {
  const u64 rfbm = requested(cpu);
  if (saving.compacts) {
    set_header(area, 0, saving.present);
    set_header(area, 1, rfbm | xstate::compacted);
  } else {
    set_header(area, 0, (header(area, 0) & ~rfbm) | saving.present);
  }
  if ((saving.components & xstate::x87) != 0) write_x87_image(cpu.fpu, form, area.data());
  if ((saving.components & xstate::sse) != 0) write_xmm_image(cpu.fpu, form, area.data());
  if ((saving.components & xstate::avx) != 0)
    write_avx_image(cpu.fpu, form.sixteen_registers, area.data() + xstate::header_end);
  if (saving.control) write_mxcsr_image(guest_mxcsr(cpu), area.data());
}

template <Variant variant>
void save(Cpu& cpu, const Op* op) {
  if (!ready(cpu, op, variant == Variant::supervisor)) return;
  {
    Area area;
    u64 linear = 0;
    const Saving saving = plan(cpu, variant);
    const unsigned bytes = xstate::bytes_of(saving.components);
    if (!area_address(cpu, op, bytes, Access::write, linear)) return;
    if (!load_for_store_slow(cpu, op, linear, area.data(), bytes)) return;
    write_area(cpu, form_of(cpu, op), saving, area);
    if (!store_slow(cpu, op, linear, area.data(), bytes)) return;
  }
  CLOISTER_NEXT(cpu, op);
}

/// The header's rules (13.8.1, 13.8.2, 13.12).
bool header_ok(const Cpu& cpu, const Area& area, bool supervisor) {
  const u64 bits = header(area, 0), layout = header(area, 1);
  const auto zero_from = [&](unsigned word, unsigned end) {
    for (unsigned i = word; i < end; ++i) {
      if (header(area, i) != 0) return false;
    }
    return true;
  };
  if ((layout & xstate::compacted) == 0) {
    return !supervisor && (bits & ~cpu.xcr0) == 0 && zero_from(1, 3);
  }
  const u64 components = layout & ~xstate::compacted;
  return (components & ~cpu.xcr0) == 0 && (bits & ~components) == 0 && zero_from(2, 8);
}

template <bool supervisor>
void restore(Cpu& cpu, const Op* op) {
  if (!ready(cpu, op, supervisor)) return;
  {
    Area area;
    u64 linear = 0;
    if (!area_address(cpu, op, xstate::header_end, Access::read, linear)) return;
    if (!load_slow(cpu, op, linear, area.data(), xstate::header_end)) return;
    if (!header_ok(cpu, area, supervisor)) return raise_gp(cpu, op);
    const bool compacted = (header(area, 1) & xstate::compacted) != 0;
    const u64 rfbm = requested(cpu), present = rfbm & header(area, 0);
    // All that is asked for and has a place is read, also if it is not present.
    const u64 placed = compacted ? header(area, 1) : ~u64{0};
    if ((rfbm & placed & xstate::avx) != 0) {
      if (!area_address(cpu, op, xstate::area_bytes, Access::read, linear)) return;
      if (!load_slow(cpu, op, linear + xstate::header_end, area.data() + xstate::header_end, xstate::avx_bytes)) return;
    }
    // The standard form loads MXCSR whenever SSE or AVX is asked for; the compacted one initializes it with the SSE
    // component.
    const bool load_mxcsr = compacted ? (present & xstate::sse) != 0 : (rfbm & (xstate::sse | xstate::avx)) != 0;
    const u32 control = read_mxcsr_image(area.data());
    if (load_mxcsr && (control & ~mxcsr::defined) != 0) return raise_gp(cpu, op);

    FpuState& fpu = cpu.fpu;
    const FxsaveForm form = form_of(cpu, op);
    if ((present & xstate::x87) != 0) {
      read_x87_image(fpu, form, area.data());
    } else if ((rfbm & xstate::x87) != 0) {
      init_x87_component(fpu);
    }
    if ((present & xstate::sse) != 0) {
      read_xmm_image(fpu, form, area.data());
    } else if ((rfbm & xstate::sse) != 0) {
      init_sse_component(fpu, form.sixteen_registers);
    }
    if ((present & xstate::avx) != 0) {
      read_avx_image(fpu, form.sixteen_registers, area.data() + xstate::header_end);
    } else if ((rfbm & xstate::avx) != 0) {
      init_avx_component(fpu, form.sixteen_registers);
    }
    if (load_mxcsr || (rfbm & xstate::sse) != 0) set_guest_mxcsr(cpu, load_mxcsr ? control : mxcsr::initial);
  }
  CLOISTER_NEXT(cpu, op);
}

/// ECX = 0: XCR0; ECX = 1: the components of it in use.
void xgetbv(Cpu& cpu, const Op* op) {
  if ((cpu.cr4 & arch::cr4::osxsave) == 0) return raise_ud(cpu, op);
  const u32 index = static_cast<u32>(cpu.gpr[arch::rcx]);
  if (index > 1) return raise_gp(cpu, op);
  const u64 value = index == 0 ? cpu.xcr0 : cpu.xcr0 & xinuse(cpu.fpu);
  cpu.gpr[arch::rax] = static_cast<u32>(value);
  cpu.gpr[arch::rdx] = value >> 32;
  CLOISTER_NEXT(cpu, op);
}

template <Handler handler, bool wide = false>
Selected select(const Insn& insn, Op& op) {
  if (!is_legacy(insn)) return {};
  op.dst = wide ? 1 : 0;
  note_address(insn, op);
  return {handler};
}

constexpr Row rows[] = {
    {ZYDIS_MNEMONIC_XSAVE, select<&save<Variant::standard>>},
    {ZYDIS_MNEMONIC_XSAVE64, select<&save<Variant::standard>, true>},
    {ZYDIS_MNEMONIC_XSAVEOPT, select<&save<Variant::optimized>>},
    {ZYDIS_MNEMONIC_XSAVEOPT64, select<&save<Variant::optimized>, true>},
    {ZYDIS_MNEMONIC_XSAVEC, select<&save<Variant::compacted>>},
    {ZYDIS_MNEMONIC_XSAVEC64, select<&save<Variant::compacted>, true>},
    {ZYDIS_MNEMONIC_XSAVES, select<&save<Variant::supervisor>>},
    {ZYDIS_MNEMONIC_XSAVES64, select<&save<Variant::supervisor>, true>},
    {ZYDIS_MNEMONIC_XRSTOR, select<&restore<false>>},
    {ZYDIS_MNEMONIC_XRSTOR64, select<&restore<false>, true>},
    {ZYDIS_MNEMONIC_XRSTORS, select<&restore<true>>},
    {ZYDIS_MNEMONIC_XRSTORS64, select<&restore<true>, true>},
    {ZYDIS_MNEMONIC_XGETBV, select<&xgetbv>},
};

}  // namespace

std::span<const Row> xsave_rows() {
  static const std::vector<Row> all = [] {
    std::vector<Row> v(std::begin(rows), std::end(rows));
    const auto legacy = fxsave_rows();
    v.insert(v.end(), legacy.begin(), legacy.end());
    return v;
  }();
  return all;
}

}  // namespace cloister::silicon
