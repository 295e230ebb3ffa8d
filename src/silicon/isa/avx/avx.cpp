// Handlers of the rows, and their choice: see avx.hpp.
#include "silicon/isa/avx/avx.hpp"

#include "silicon/isa/vector_access.hpp"
#include "silicon/state/host_features.hpp"

namespace cloister::silicon {
namespace {

// An Op's fields: dst, src as ever; aux: the register in VEX.vvvv and any_address; imm: the immediate, the register in
// it, and the row.
constexpr u8 vvvv_mask = 0x0f;
constexpr unsigned third_shift = 8, row_shift = 16;

const AvxRow& row_of(const Op* op) { return *reinterpret_cast<const AvxRow*>(op->imm >> row_shift); }

/// What the second operand is, or how many bytes of memory.
enum Second : unsigned { vector_register = 0, general_register = 1000 };

Xmm to_xmm(__m128i v) {
  Xmm x;
  _mm_store_si128(reinterpret_cast<__m128i*>(x.byte.data()), v);
  return x;
}

template <unsigned bytes>
bool read_second(Cpu& cpu, const Op* op, const AvxRow& row, Ymm& to) {
  u64 linear = 0;
  if (!operand_address<From::memory>(cpu, op, bytes, Access::read, linear)) return false;
  if (row.aligned && linear % bytes != 0) [[unlikely]] {
    raise_gp(cpu, op);
    return false;
  }
  if constexpr (bytes == 32) {
    return load(cpu, op, linear, to);
  } else {
    Raw<bytes> raw;
    if (!load(cpu, op, linear, raw)) return false;
    to = {to_xmm(to_vector(raw)), {}};
    return true;
  }
}

/// Brings the sources and runs the row. False: a fault.
template <unsigned second, bool wide>
[[gnu::always_inline]] inline bool run_row(Cpu& cpu, const Op* op, const AvxRow& row, AvxValues& v) {
  v.immediate = op->imm & 0xff;
  v.first = get_ymm(cpu, op->aux & vvvv_mask);
  v.third = get_ymm(cpu, (op->imm >> third_shift) & vvvv_mask);
  if constexpr (second == vector_register) {
    v.second = get_ymm(cpu, op->src);
  } else if constexpr (second == general_register) {
    v.number = cpu.gpr[op->src];
    v.second = {to_xmm(to_vector(v.number)), {}};
  } else {
    if (!read_second<second>(cpu, op, row, v.second)) return false;
    if constexpr (second <= 8) std::memcpy(&v.number, v.second.low.byte.data(), 8);
  }
  (wide ? row.wide : row.narrow)(v);
  if (row.lanes != Lanes::integer && cpu.fpu.sse_unmasked) [[unlikely]] {
    return !avx_exception(cpu, op, row, v, wide);
  }
  return true;
}

template <unsigned second, bool wide>
void to_vector_register(Cpu& cpu, const Op* op) {
  if (cpu.fpu.avx_blocked) [[unlikely]]
    return avx_unavailable(cpu, op);
  {
    AvxValues v;
    const AvxRow& row = row_of(op);
    v.result = row.reads_result ? get_ymm(cpu, op->dst) : Ymm{};
    if (!run_row<second, wide>(cpu, op, row, v)) return;
    if constexpr (!wide) v.result.high = {};
    set_ymm(cpu, op->dst, v.result);
  }
  CLOISTER_NEXT(cpu, op);
}

template <unsigned second, bool wide>
void to_number(Cpu& cpu, const Op* op) {
  if (cpu.fpu.avx_blocked) [[unlikely]]
    return avx_unavailable(cpu, op);
  {
    AvxValues v;
    if (!run_row<second, wide>(cpu, op, row_of(op), v)) return;
    cpu.gpr[op->dst] = v.number;
  }
  CLOISTER_NEXT(cpu, op);
}

template <unsigned second, bool wide>
void to_flags(Cpu& cpu, const Op* op) {
  if (cpu.fpu.avx_blocked) [[unlikely]]
    return avx_unavailable(cpu, op);
  {
    AvxValues v;
    if (!run_row<second, wide>(cpu, op, row_of(op), v)) return;
    cpu.flags.set(v.flags);
  }
  CLOISTER_NEXT(cpu, op);
}

/// The result, or the number, goes to memory.
template <unsigned bytes, bool wide>
void to_memory(Cpu& cpu, const Op* op) {
  if (cpu.fpu.avx_blocked) [[unlikely]]
    return avx_unavailable(cpu, op);
  {
    AvxValues v;
    const AvxRow& row = row_of(op);
    u64 linear = 0;
    if (!operand_address<From::memory>(cpu, op, bytes, Access::write, linear)) return;
    if (row.aligned && linear % bytes != 0) [[unlikely]]
      return raise_gp(cpu, op);
    if (row.lanes != Lanes::integer) {
      // The fault comes before what the conversion finds.
      std::array<u8, bytes> old;
      if (!load_for_store_slow(cpu, op, linear, old.data(), bytes)) return;
    }
    if (!run_row<vector_register, wide>(cpu, op, row, v)) return;
    if (row.result == AvxResult::number) std::memcpy(static_cast<void*>(&v.result), &v.number, 8);
    if constexpr (bytes == 32) {
      if (!store(cpu, op, linear, v.result)) return;
    } else {
      Raw<bytes> raw;
      std::memcpy(static_cast<void*>(&raw), &v.result, bytes);
      if (!store(cpu, op, linear, raw)) return;
    }
  }
  CLOISTER_NEXT(cpu, op);
}

template <bool wide>
Handler memory_handler(unsigned bytes) {
  switch (bytes) {
    case 1: return &to_memory<1, wide>;
    case 2: return &to_memory<2, wide>;
    case 4: return &to_memory<4, wide>;
    case 8: return &to_memory<8, wide>;
    case 16: return &to_memory<16, wide>;
    default: return &to_memory<32, wide>;
  }
}

template <unsigned second, bool wide>
Handler handler_of(AvxResult result) {
  switch (result) {
    case AvxResult::number: return &to_number<second, wide>;
    case AvxResult::flags: return &to_flags<second, wide>;
    default: return &to_vector_register<second, wide>;
  }
}

template <bool wide>
Handler handler_of(AvxResult result, unsigned second) {
  switch (second) {
    case vector_register: return handler_of<vector_register, wide>(result);
    case general_register: return handler_of<general_register, wide>(result);
    case 1: return handler_of<1, wide>(result);
    case 2: return handler_of<2, wide>(result);
    case 4: return handler_of<4, wide>(result);
    case 8: return handler_of<8, wide>(result);
    case 16: return handler_of<16, wide>(result);
    default: return handler_of<32, wide>(result);
  }
}

/// For an engine: which operands there are beside the register in VEX.vvvv. The vectors' sizes say what VEX.L does.
Form form_of(const Insn& insn, bool wide, bool reads_all, unsigned second) {
  using enum Operands;
  const u8 vector_bytes = wide ? 32 : 16;
  Form form{.bytes = vector_bytes, .source_bytes = vector_bytes, .memory = insn.memory, .writes = !reads_all};
  const auto bytes_of = [&](unsigned i) { return static_cast<u8>(insn.bits(i) / 8); };
  const unsigned last = insn.visible() - 1;
  if (insn.is_mem(0) || (!reads_all && !is_vector(insn, 0))) {
    form.operands = insn.is_mem(0) ? mem_xmm : is_vector(insn, 1) ? reg_xmm : other;
    form.bytes = bytes_of(0);
  } else if (insn.operand[0].encoding == ZYDIS_OPERAND_ENCODING_NDSNDD) {
    form.operands = xmm_imm;
  } else if (second == vector_register) {
    form.operands = xmm_xmm;
  } else {
    form.operands = second == general_register ? xmm_reg : xmm_mem;
    for (unsigned i = 1; i <= last; ++i) {
      if (insn.is_mem(i) || (second == general_register && insn.is_reg(i) && !is_vector(insn, i)))
        form.source_bytes = bytes_of(i);
    }
  }
  return form;
}

}  // namespace

bool host_runs(const Insn& insn) {
  const HostFeatures& host = host_features();
  switch (insn.info.meta.isa_set) {
    case ZYDIS_ISA_SET_AVX: return host.avx && (insn.info.mnemonic != ZYDIS_MNEMONIC_VPCLMULQDQ || host.pclmul);
    case ZYDIS_ISA_SET_AVX2:
    case ZYDIS_ISA_SET_AVX2GATHER: return host.avx;
    case ZYDIS_ISA_SET_FMA: return host.fma;
    case ZYDIS_ISA_SET_F16C: return host.f16c;
    case ZYDIS_ISA_SET_AVXAES: return host.avx && host.aes;
    case ZYDIS_ISA_SET_VAES: return host.vaes;
    case ZYDIS_ISA_SET_VPCLMULQDQ: return host.vpclmulqdq;
    default: return false;
  }
}

Selected select_avx(const Insn& insn, Op& op, const AvxRow& row) {
  const bool wide = is_wide(insn);
  if (!is_vex(insn) || !host_runs(insn) || (wide ? row.wide : row.narrow) == nullptr) return {};
  op.imm = static_cast<u64>(reinterpret_cast<std::uintptr_t>(&row)) << row_shift;
  op.dst = op.src = 0;
  unsigned second = vector_register;
  const bool reads_all = row.result == AvxResult::flags;
  for (unsigned i = 0; i < insn.visible(); ++i) {
    const ZydisDecodedOperand& o = insn.operand[i];
    if (i == 0 && !reads_all) {
      if (insn.is_reg(0)) op.dst = insn.reg(0);
    } else if (insn.is_imm(i)) {
      op.imm |= insn.imm(i) & 0xff;
    } else if (insn.is_mem(i)) {
      second = insn.bits(i) / 8;
    } else if (o.encoding == ZYDIS_OPERAND_ENCODING_IS4) {
      op.imm |= u64{insn.reg(i)} << third_shift;
    } else if (o.encoding == ZYDIS_OPERAND_ENCODING_NDSNDD || (reads_all && i == 0)) {
      op.aux = insn.reg(i);
    } else {
      op.src = insn.reg(i);
      if (!is_vector(insn, i)) second = general_register;
    }
  }
  note_address(insn, op);
  const Form form = form_of(insn, wide, reads_all, second);
  if (insn.is_mem(0) && !reads_all) {
    const unsigned bytes = insn.bits(0) / 8;
    return {.handler = wide ? memory_handler<true>(bytes) : memory_handler<false>(bytes), .form = form};
  }
  return {.handler = wide ? handler_of<true>(row.result, second) : handler_of<false>(row.result, second), .form = form};
}

}  // namespace cloister::silicon
