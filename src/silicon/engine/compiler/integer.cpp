// Integer instructions of 64-bit code by the host's own.
#include "silicon/engine/compiler/translator.hpp"

namespace cloister::silicon {

using namespace host;

namespace {
using enum Operands;

/// As the instruction uses it, sign-extended.
i64 immediate(const Op& op, u8 bytes) {
  switch (bytes) {
    case 1: return static_cast<i8>(op.imm);
    case 2: return static_cast<i16>(op.imm);
    case 4: return static_cast<i32>(op.imm);
    default: return static_cast<i64>(op.imm);
  }
}
/// Bytes of an immediate in an instruction.
u8 immediate_bytes(u8 bytes) { return bytes == 8 ? 4 : bytes; }
/// The opcode of an instruction with a form for bytes, which is one less.
u32 sized(u32 opcode, u8 bytes) { return bytes == 1 ? opcode - 1 : opcode; }
bool on_memory(const Form& form) {
  return form.operands == mem || form.operands == mem_reg || form.operands == mem_imm;
}
}  // namespace

void Translator::binary(const Op& op, const Form& form, const Known& k) {
  const u8 bytes = form.bytes, dst = number(op.dst, bytes), src = number(op.src, bytes);
  const Encoder::Sizes sizes = Encoder::all(bytes);
  const u32 to_rm = sized(static_cast<u32>(k.code << 3) | 1, bytes), to_reg = to_rm | 2;
  const i64 imm = immediate(op, bytes);
  const bool blinded = bytes >= 4 && must_blind(imm);
  const bool short_imm = imm == static_cast<i8>(imm) && bytes > 1;
  const auto with_imm = [&](const Place& p) {
    lock(form);
    e_.op(bytes == 1  ? 0x80
          : short_imm ? 0x83
                      : 0x81,
          static_cast<HostReg>(k.code), p, sizes, imm, short_imm ? 1 : immediate_bytes(bytes));
  };
  Place memory = host::rax;
  if (on_memory(form)) memory = access(op, form.memory, bytes, form.writes, atomic_alignment(form));
  if (form.operands == reg_mem) memory = access(op, form.memory, bytes, false, 1, free_for(dst, k));
  use_flags(k);
  const Operands o = form.operands;
  if ((o == reg_reg || (o == reg_imm && !blinded)) && in_memory(dst, bytes, form.writes)) {
    const Place here = layout_.of_gpr(dst);
    o == reg_imm ? with_imm(here) : e_.op(to_rm, in_register(src, scratch), here, sizes);
    return set_flags(k);
  }
  switch (o) {
    case reg_reg:
    case reg_mem:
      into(dst, bytes, true, form.writes,
           [&](HostReg r) { e_.op(to_reg, r, form.operands == reg_mem ? memory : value(src), sizes); });
      break;
    case reg_imm:
      if (blinded) constant(second_scratch, imm);
      into(dst, bytes, true, form.writes,
           [&](HostReg r) { blinded ? e_.op(to_reg, r, second_scratch, sizes) : with_imm(r); });
      break;
    case mem_reg: {
      const HostReg from = in_register(src, scratch);
      lock(form);
      e_.op(to_rm, from, memory, sizes);
      break;
    }
    default:
      if (!blinded) {
        with_imm(memory);
      } else {
        constant(scratch, imm);
        lock(form);
        e_.op(to_rm, scratch, memory, sizes);
      }
  }
  set_flags(k);
}

void Translator::test(const Op& op, const Form& form, const Known& k) {
  const u8 bytes = form.bytes;
  const Encoder::Sizes sizes = Encoder::all(bytes);
  const bool is_free = form.operands == mem_reg && host_of[number(op.src, bytes)] != no_register;
  const Place rm = on_memory(form) ? Place{access(op, form.memory, bytes, false, 1, free_if(is_free))}
                                   : value(number(op.dst, bytes));
  if (form.operands == reg_reg || form.operands == mem_reg) {
    e_.op(sized(0x85, bytes), in_register(number(op.src, bytes), scratch), rm, sizes);
  } else if (form.operands == reg_mem) {
    const Place memory = access(op, form.memory, bytes, false);
    e_.op(sized(0x85, bytes), in_register(number(op.dst, bytes), scratch), memory, sizes);
  } else if (const i64 imm = immediate(op, bytes); bytes >= 4 && must_blind(imm)) {
    constant(scratch, imm);
    e_.op(0x85, scratch, rm, sizes);
  } else {
    e_.op(sized(0xf7, bytes), 0, rm, sizes, imm, immediate_bytes(bytes));
  }
  set_flags(k);
}

void Translator::move(const Op& op, const Form& form, const Known& k) {
  const u8 bytes = form.bytes, dst = number(op.dst, bytes), src = number(op.src, bytes);
  const Encoder::Sizes sizes = Encoder::all(bytes);
  switch (form.operands) {
    case reg_reg:
      if (in_memory(dst, bytes)) return e_.store(layout_.of_gpr(dst), in_register(src, scratch), bytes);
      into(dst, bytes, false, true, [&](HostReg r) { e_.op(sized(0x8b, bytes), r, value(src), sizes); });
      break;
    case reg_mem: {
      const Address from = access(op, form.memory, bytes, false, 1, free_for(dst, k));
      into(dst, bytes, false, true, [&](HostReg r) { e_.op(sized(0x8b, bytes), r, from, sizes); });
      break;
    }
    case reg_imm: {
      const i64 imm = immediate(op, bytes);
      if (bytes < 4) {
        e_.op(sized(0xc7, bytes), 0, place(dst), sizes, imm, bytes);
      } else {
        into(dst, bytes, false, true, [&](HostReg r) { constant(r, bytes == 4 ? i64{static_cast<u32>(imm)} : imm); });
      }
      break;
    }
    case mem_reg: {
      const Address to = access(op, form.memory, bytes, true, 1, free_for(src, k));
      e_.store(to, in_register(src, scratch), bytes);
      break;
    }
    default: {
      const Address to = access(op, form.memory, bytes, true);
      const i64 imm = immediate(op, bytes);
      if (bytes >= 4 && must_blind(imm)) {
        constant(scratch, imm);
        e_.store(to, scratch, bytes);
      } else {
        e_.op(sized(0xc7, bytes), 0, to, sizes, imm, immediate_bytes(bytes));
      }
    }
  }
}

void Translator::unary(const Op& op, const Form& form, const Known& k) {
  const u8 bytes = form.bytes;
  const auto emit = [&](const Place& p) {
    e_.op(sized(k.code >> 8, bytes), static_cast<HostReg>(k.code & 7), p, Encoder::all(bytes));
  };
  if (on_memory(form)) {
    const Address a = access(op, form.memory, bytes, true, atomic_alignment(form));
    use_flags(k);
    lock(form);
    emit(a);
  } else {
    const u8 dst = number(op.dst, bytes);
    use_flags(k);
    in_memory(dst, bytes) ? emit(layout_.of_gpr(dst)) : into(dst, bytes, true, true, emit);
  }
  set_flags(k);
}

/// For a count of 1 the host leaves all but AF as the interpreter does; for others, OF is the interpreter's formula.
void Translator::save_after_shift(const Form& form, const Known& k, unsigned count, HostReg result) {
  constexpr unsigned shl = 4, shr = 5;
  const u8 top = static_cast<u8>(8 * form.bytes - 1);
  e_.bytes({0x9f});              // lahf
  e_.bytes({0x80, 0xe4, 0xef});  // and ah, ~AF: CF is in AH from here on
  if (k.code == shl) {
    // OF is CF xor the result's top bit.
    e_.op(0x8b, second_scratch, result);
    e_.op(0xc1, 5, second_scratch, {form.bytes}, top, 1);
    e_.bytes({0x88, 0xe0});  // mov al, ah
    e_.op(0x32, rax, second_scratch, Encoder::all(1));
    e_.bytes({0x24, 0x01});  // and al, 1
  } else if (k.code == shr) {
    // OF is the operand's top bit: the result's, `count` bits lower.
    e_.op(0x8b, second_scratch, result);
    e_.op(0xc1, 5, second_scratch, {form.bytes}, static_cast<i64>(top - count), 1);
    e_.op(0x8a, rax, second_scratch, Encoder::all(1));
    e_.bytes({0x24, 0x01});
  } else {
    e_.bytes({0xb0, 0x00});  // mov al, 0
  }
  e_.store(layout_.at(layout_.flags), rax, 2);
  host_ = false;
  memory_ = true;
}

void Translator::shift(const Op& op, const Form& form, const Known& k) {
  const u8 bytes = form.bytes, dst = number(op.dst, bytes);
  const unsigned count = op.imm & (bytes == 8 ? 63 : 31);
  const bool is_rotate = k.writes != flag_set::all;
  const bool by_hand = !is_rotate && (live() & (flag_set::a | (count == 1 ? 0 : flag_set::o))) != 0;
  const auto digit = static_cast<HostReg>(k.code);
  if (form.operands == mem_imm) {
    const Address a = access(op, form.memory, bytes, true);
    e_.op(sized(0xc1, bytes), digit, a, Encoder::all(bytes), static_cast<i64>(op.imm & 0xff), 1);
    return set_flags(k);
  }
  use_flags(k);
  const auto by = [&](const Place& r, u64 n) {
    e_.op(sized(0xc1, bytes), digit, r, Encoder::all(bytes), static_cast<i64>(n), 1);
  };
  const auto emit = [&](const Place& r) {
    if (form.operands == reg_cl) {
      e_.op(sized(0xd3, bytes), digit, r, Encoder::all(bytes));
    } else if (is_rotate && count > 1 && (live() & flag_set::o) != 0) {
      // The host defines OF for a count of 1, as the interpreter does for all.
      by(r, count - 1);
      by(r, 1);
    } else {
      by(r, op.imm & 0xff);
    }
  };
  in_memory(dst, bytes) ? emit(layout_.of_gpr(dst)) : into(dst, bytes, true, true, emit);
  if (!by_hand) return set_flags(k);
  // The result is in its place: rax is free.
  if (host_of[dst] != no_register) return save_after_shift(form, k, count, host_of[dst]);
  e_.op(0x8b, second_scratch, layout_.of_gpr(dst));
  save_after_shift(form, k, count, second_scratch);
}

/// The host defines CF and OF; the others are the interpreter's: of the result, and AF clear.
void Translator::save_after_multiply(const Form& form, HostReg result) {
  e_.op(0x0f90, 0, rax, Encoder::all(1));  // seto al
  e_.op(0x85, result, result, {form.bytes});
  e_.bytes({0x9f});              // lahf
  e_.bytes({0x80, 0xe4, 0xef});  // and ah, ~AF
  e_.bytes({0x08, 0xc4});        // or ah, al: CF
  e_.store(layout_.at(layout_.flags), rax, 2);
  host_ = false;
  memory_ = true;
}

void Translator::multiply(const Op& op, const Form& form, const Known& k) {
  const bool from_memory = form.operands == reg_mem || form.operands == reg_mem_imm;
  const bool with_imm = form.operands == reg_reg_imm || form.operands == reg_mem_imm;
  Place from = from_memory ? Place{access(op, form.memory, form.bytes, false)} : place(op.src);
  const i64 imm = immediate(op, form.bytes);
  const bool blinded = with_imm && must_blind(imm);
  if (blinded) {
    e_.mov(scratch, from, form.bytes);
    constant(second_scratch, imm);
  }
  into(op.dst, form.bytes, !with_imm, true, [&](HostReg r) {
    if (blinded) {
      e_.op(k.code, second_scratch, scratch, {form.bytes});
      e_.mov(r, second_scratch);
    } else if (with_imm) {
      e_.op(0x69, r, from, {form.bytes}, imm, 4);
    } else {
      e_.op(k.code, r, from, {form.bytes});
    }
  });
  if ((live() & ~(flag_set::c | flag_set::o)) == 0) return set_flags(k);
  save_after_multiply(form, in_register(op.dst, second_scratch));
}

void Translator::wide(const Op& op, const Form& form, const Known& k) {
  const Place from = form.operands == mem ? Place{access(op, form.memory, form.bytes, false)} : place(op.src);
  constexpr HostReg low = host_of[arch::rax];
  e_.mov(rax, low);
  e_.op(0xf7, static_cast<HostReg>(k.code), from, {form.bytes});
  e_.mov(low, rax, form.bytes);
  if ((live() & ~(flag_set::c | flag_set::o)) == 0) return set_flags(k);
  save_after_multiply(form, low);
}

/// What may fault goes to the handler: for IDIV whatever is not the quotient of one register's value, or by 0 or -1.
/// The flags stay as they were.
void Translator::divide(const Op& op, const Form& form, const Known& k) {
  constexpr HostReg low = host_of[arch::rax];
  if (form.operands == mem) {
    e_.mov(second_scratch, access(op, form.memory, form.bytes, false), form.bytes);
  } else {
    e_.mov(second_scratch, place(op.src), form.bytes);
  }
  constexpr u32 signed_digit = 7;
  if (k.code == signed_digit) {
    e_.lea(rax, {.base = second_scratch, .disp = 1}, form.bytes);
    e_.op(0x83, 7, rax, {form.bytes}, 1, 1);
    e_.jcc(6, miss());
    e_.mov(rax, low, form.bytes);
    e_.op(0xc1, 7, rax, {form.bytes}, 8 * form.bytes - 1, 1);
    e_.op(0x3b, rax, rdx, {form.bytes});
    e_.jcc(5, miss());
  } else {
    e_.op(0x3b, rdx, second_scratch, {form.bytes});
    e_.jcc(3, miss());
  }
  e_.mov(rax, low);
  e_.op(0xf7, static_cast<HostReg>(k.code), second_scratch, {form.bytes});
  e_.mov(low, rax, form.bytes);
  host_ = false;
}

/// All flags but CF stay: the host promises that of ZF alone.
void Translator::bit(const Op& op, const Form& form, const Known& k) {
  const u8 bytes = form.bytes;
  const auto digit = static_cast<HostReg>(k.code);
  const bool others = (live() & ~flag_set::c) != 0;
  if (others) before_exit();
  if (form.operands == mem_imm) {
    const Address a = access(op, form.memory, bytes, form.writes, atomic_alignment(form));
    lock(form);
    e_.op(0x0fba, digit, a, {bytes}, static_cast<i64>(op.imm & 0xff), 1);
  } else if (form.operands == reg_imm) {
    into(op.dst, bytes, true, form.writes,
         [&](HostReg r) { e_.op(0x0fba, digit, r, {bytes}, static_cast<i64>(op.imm & 0xff), 1); });
  } else {
    const HostReg offset = in_register(op.src, second_scratch);
    into(op.dst, bytes, true, form.writes, [&](HostReg r) { e_.op(0x0f83u | (k.code << 3), offset, r, {bytes}); });
  }
  if (!others) return set_flags(k);
  e_.op(0x0f92, 0, rax, Encoder::all(1));  // setc al
  const Address ah_in_image = layout_.at(layout_.flags + 1);
  e_.op(0x80, 4, ah_in_image, Encoder::all(1), 0xfe, 1);
  e_.op(0x08, rax, ah_in_image, Encoder::all(1));
  host_ = false;
  memory_ = true;
}

void Translator::extend(const Op& op, const Form& form, const Known& k) {
  const u8 from = form.source_bytes;
  const u32 opcode = k.code + (k.code > 0xff && from == 2 ? 1u : 0u);
  const Encoder::Sizes sizes{form.bytes, form.bytes, from};
  Place source = scratch;
  if (form.operands == reg_mem) {
    source = access(op, form.memory, from, false, 1, free_for(op.dst, k));
  } else if (from == 1 && op.src % 8 != 0) {
    high_to_scratch(op.src);
  } else {
    source = place(number(op.src, from));
  }
  into(op.dst, form.bytes, false, true, [&](HostReg r) { e_.op(opcode, r, source, sizes); });
}

void Translator::conditional(const Op& op, const Form& form, const Known& k) {
  const u8 bytes = form.bytes;
  if (k.kind == Kind::condition_set) {
    const Place to = on_memory(form) ? Place{access(op, form.memory, 1, true)} : place(number(op.dst, 1));
    need_host();
    return e_.op(0x0f90u | k.code, 0, to, {1, 8, 1});
  }
  const Place from = form.operands == reg_mem ? Place{access(op, form.memory, bytes, false)} : place(op.src);
  need_host();
  into(op.dst, bytes, true, true, [&](HostReg r) { e_.op(0x0f40u | k.code, r, from, {bytes}); });
}

}  // namespace cloister::silicon
