// Instruction formats (SDM vol. 2A, 2.1 and 2.2; tables 2-1 to 2-3).
#include "silicon/engine/compiler/encoder.hpp"

#include <cstring>

namespace cloister::silicon {

namespace {
constexpr u32 unbound = ~u32{0};
constexpr bool high(HostReg r) { return r != no_register && r >= 8; }
constexpr HostReg low(HostReg r) { return r & 7; }
constexpr bool is_i8(i64 v) { return v == static_cast<i8>(v); }
/// Base 5 without a displacement has another meaning, and so has rm 4.
constexpr u8 needs_sib = 4, no_base = 5;
}  // namespace

void Encoder::imm(u64 value, u8 bytes) {
  for (u8 i = 0; i < bytes; ++i) code_.push_back(static_cast<u8>(value >> (8 * i)));
}

void Encoder::rex(bool w, HostReg reg, const Place& rm, bool always) {
  const bool r = high(reg), x = rm.memory && high(rm.at.index), b = rm.memory ? high(rm.at.base) : high(rm.reg);
  if (w || r || x || b || always) code_.push_back(static_cast<u8>(0x40 | (w << 3) | (r << 2) | (x << 1) | u8{b}));
}

void Encoder::opcode(u32 code) {
  if (code > 0xff) code_.push_back(static_cast<u8>(code >> 8));
  code_.push_back(static_cast<u8>(code));
}

void Encoder::modrm(HostReg reg, const Place& rm) {
  const u8 middle = static_cast<u8>(low(reg) << 3);
  if (!rm.memory) return code_.push_back(static_cast<u8>(0xc0 | middle | low(rm.reg)));
  const Address& a = rm.at;
  const u8 index = a.index == no_register ? 4 : low(a.index);
  const u8 sib = static_cast<u8>((a.scale << 6) | (index << 3));
  if (a.base == no_register) {
    code_.push_back(static_cast<u8>(middle | needs_sib));
    code_.push_back(static_cast<u8>(sib | no_base));
    return imm(static_cast<u32>(a.disp), 4);
  }
  const u8 mod = a.disp == 0 && low(a.base) != no_base ? 0 : is_i8(a.disp) ? 0x40 : 0x80;
  const bool with_sib = a.index != no_register || low(a.base) == needs_sib;
  code_.push_back(static_cast<u8>(mod | middle | (with_sib ? needs_sib : low(a.base))));
  if (with_sib) code_.push_back(static_cast<u8>(sib | low(a.base)));
  if (mod != 0) imm(static_cast<u32>(a.disp), mod == 0x40 ? 1 : 4);
}

void Encoder::op(u32 code, HostReg reg, const Place& rm, Sizes sizes, i64 value, u8 imm_bytes) {
  if (sizes.operand == 2) code_.push_back(0x66);
  const bool byte_register = (sizes.reg == 1 && reg >= 4) || (sizes.rm == 1 && !rm.memory && rm.reg >= 4);
  rex(sizes.operand == 8, reg, rm, byte_register);
  opcode(code);
  modrm(reg, rm);
  imm(static_cast<u64>(value), imm_bytes);
}

void Encoder::sse(u32 code, HostReg reg, const Place& rm, bool wide, i64 value, u8 imm_bytes) {
  constexpr u8 escape = 0x0f;
  const u8 prefix = static_cast<u8>(code >> 16), map = static_cast<u8>(code >> 8);
  if (prefix != 0) code_.push_back(prefix);
  rex(wide, reg, rm);
  code_.push_back(escape);
  if (map != escape) code_.push_back(map);
  code_.push_back(static_cast<u8>(code));
  modrm(reg, rm);
  imm(static_cast<u64>(value), imm_bytes);
}

// SDM vol. 2A, 2.3.5: R, X, B and vvvv are inverted. The shorter prefix has R and vvvv alone, and the map 0F.
void Encoder::vex(u32 code, HostReg reg, const Place& rm, Vex v, i64 value, u8 imm_bytes) {
  const u8 prefix = static_cast<u8>(code >> 16), map = static_cast<u8>(code >> 8);
  const u8 pp = prefix == 0x66 ? 1 : prefix == 0xf3 ? 2 : prefix == 0xf2 ? 3 : 0;
  const u8 m = map == 0x38 ? 2 : map == 0x3a ? 3 : 1;
  const bool r = high(reg), x = rm.memory && high(rm.at.index), b = rm.memory ? high(rm.at.base) : high(rm.reg);
  const u8 last = static_cast<u8>(((~v.third & 15) << 3) | (u8{v.l} << 2) | pp);
  if (m == 1 && !x && !b && !v.w) {
    bytes({0xc5, static_cast<u8>((u8{!r} << 7) | last)});
  } else {
    bytes({0xc4, static_cast<u8>((u8{!r} << 7) | (u8{!x} << 6) | (u8{!b} << 5) | m),
           static_cast<u8>((u8{v.w} << 7) | last)});
  }
  code_.push_back(static_cast<u8>(code));
  modrm(reg, rm);
  imm(static_cast<u64>(value), imm_bytes);
}

void Encoder::op_in_opcode(u32 code, HostReg reg, u8 bytes, u64 value, u8 imm_bytes) {
  if (bytes == 2) code_.push_back(0x66);
  rex(bytes == 8, 0, reg);
  opcode(code | low(reg));
  imm(value, imm_bytes);
}

void Encoder::mov_imm(HostReg to, u64 value) {
  if (value == static_cast<u32>(value)) return op_in_opcode(0xb8, to, 4, value, 4);
  const i64 v = static_cast<i64>(value);
  if (v == static_cast<i32>(v)) return op(0xc7, 0, to, Sizes{}, v, 4);
  op_in_opcode(0xb8, to, 8, value, 8);
}

void Encoder::relative(const void* to) { imm(static_cast<u32>(reinterpret_cast<u64>(to) - (origin_ + here() + 4)), 4); }
void Encoder::relative(Label to) {
  fixups_.push_back({here(), to.number});
  imm(0, 4);
}

void Encoder::jmp(const void* target) {
  bytes({0xe9});
  relative(target);
}
void Encoder::call(const void* target) {
  bytes({0xe8});
  relative(target);
}
void Encoder::jmp(Label to) {
  bytes({0xe9});
  relative(to);
}
void Encoder::jcc(u8 condition, Label to) {
  bytes({0x0f, static_cast<u8>(0x80 | condition)});
  relative(to);
}
void Encoder::jcc(u8 condition, const void* target) {
  bytes({0x0f, static_cast<u8>(0x80 | condition)});
  relative(target);
}
void Encoder::lea(HostReg to, Label place) {
  bytes({static_cast<u8>(0x48 | (high(to) ? 4 : 0)), 0x8d, static_cast<u8>((low(to) << 3) | 5)});
  relative(place);
}

Label Encoder::label() {
  labels_.push_back(unbound);
  return {static_cast<u32>(labels_.size() - 1)};
}

const std::vector<u8>& Encoder::finish() {
  for (const Fixup& f : fixups_) {
    const u32 distance = labels_[f.label] - (f.at + 4);
    std::memcpy(&code_[f.at], &distance, sizeof distance);
  }
  fixups_.clear();
  return code_;
}

}  // namespace cloister::silicon
