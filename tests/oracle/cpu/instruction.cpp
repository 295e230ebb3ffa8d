// Encodes instructions from the pieces of SDM vol. 2A, figure 2-1 (and 2-9 for VEX).
#include "oracle/cpu/instruction.hpp"

#include <algorithm>
#include <cstring>

#include "oracle/cpu/address.hpp"
#include "oracle/cpu/state.hpp"

namespace cloister::oracle {
namespace {

struct Prefixes {
  u8 count;
  u8 byte[2];
};
constexpr std::array<Prefixes, prefix_kinds> prefix_table = {{
    {0, {}},
    {1, {0x66}},
    {1, {0xf2}},
    {1, {0xf3}},
    {2, {0x66, 0xf2}},
    {2, {0x66, 0xf3}},
    {1, {0xf0}},
    {2, {0x66, 0xf0}},
    {1, {0x67}},
}};

const ZydisDecoder& decoder(bool bits64) {
  static const auto make = [](ZydisMachineMode mode, ZydisStackWidth width) {
    ZydisDecoder d;
    ZydisDecoderInit(&d, mode, width);
    // NOPs where the extension is absent or off, as on every host of these tests.
    for (const ZydisDecoderMode off : {ZYDIS_DECODER_MODE_CET, ZYDIS_DECODER_MODE_MPX, ZYDIS_DECODER_MODE_CLDEMOTE,
                                       ZYDIS_DECODER_MODE_WBNOINVD, ZYDIS_DECODER_MODE_KNC}) {
      ZydisDecoderEnableMode(&d, off, ZYAN_FALSE);
    }
    return d;
  };
  static const ZydisDecoder long64 = make(ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
  static const ZydisDecoder compat32 = make(ZYDIS_MACHINE_MODE_LONG_COMPAT_32, ZYDIS_STACK_WIDTH_32);
  return bits64 ? long64 : compat32;
}

struct Bytes {
  std::array<u8, 40> byte{};
  unsigned count = 0;
  void add(unsigned value) { byte[count++] = static_cast<u8>(value); }
};

/// Prefixes, REX or VEX and opcode. `rxb`: REX bits 2:0; `vvvv`: VEX's register.
void add_opcode(Bytes& out, const Encoding& e, unsigned rxb, unsigned vvvv) {
  if (e.vex) {
    out.add(0xc4);
    out.add(((~rxb & 7) << 5) | e.map);
    out.add(((e.rex == 2 ? 1u : 0u) << 7) | ((~vvvv & 15) << 3) | (e.l << 2) | e.pp);
  } else {
    if (e.rex != 0) out.add(0x40 | (e.rex == 2 ? 8 : 0) | rxb);
    if (e.map != 0) out.add(0x0f);
    if (e.map == 2) out.add(0x38);
    if (e.map == 3) out.add(0x3a);
  }
  out.add(e.opcode);
}

template <class T>
void patch(Bytes& out, unsigned at, T value) {
  std::memcpy(&out.byte[at], &value, sizeof value);
}
void patch(Bytes& out, unsigned at, unsigned bits, u64 value) { std::memcpy(&out.byte[at], &value, bits / 8); }

/// A branch target among the INT3s, not within the instruction.
u64 landing(Random& random, unsigned length) {
  for (;;) {
    const u64 at = sandbox::code + random.below(arch::page_size);
    if (at < sandbox::instruction || at >= sandbox::instruction + length) return at;
  }
}

void patch_displacement(Bytes& out, const Instruction& i, Random& random) {
  for (const ZydisDecodedOperand& op : i.operands()) {
    if (op.type != ZYDIS_OPERAND_TYPE_MEMORY || i.info.raw.disp.size == 0) continue;
    const bool relative = op.mem.base == ZYDIS_REGISTER_RIP || op.mem.base == ZYDIS_REGISTER_EIP;
    if (!relative && (op.mem.base != ZYDIS_REGISTER_NONE || op.mem.index != ZYDIS_REGISTER_NONE)) continue;
    u64 value = pick_target(random, op.size / 8, 32);  // what a displacement reaches
    if (op.mem.segment == ZYDIS_REGISTER_GS) value -= sandbox::gs_base;
    if (relative) value -= sandbox::instruction + i.info.length;
    patch(out, i.info.raw.disp.offset, i.info.raw.disp.size, value);
  }
}

void patch_immediates(Bytes& out, const Instruction& i, Random& random) {
  for (const auto& imm : i.info.raw.imm) {
    if (imm.size == 0) continue;
    u64 value = random.integer();
    if (imm.is_relative) {
      const u64 next = sandbox::instruction + i.info.length;
      value = landing(random, i.info.length) - next;
      if (imm.size == 8) {
        do {
          value = random.next();
        } while (static_cast<i8>(value) < 0 && -static_cast<i8>(value) <= i.info.length);
      } else if (random.percent(10)) {
        value = 0x8000'0000 + random.below(1u << 30);  // far away: nothing is mapped there
      }
    }
    patch(out, imm.offset, imm.size, value);
  }
  if (i.operand[0].type == ZYDIS_OPERAND_TYPE_POINTER) {
    const unsigned at = i.info.length - 2u;
    const unsigned offset_bytes = i.info.operand_width / 8;
    patch(out, at - offset_bytes, 8 * offset_bytes, landing(random, i.info.length));
    patch(out, at, 16, random_selector(random));
  }
}

}  // namespace

bool is_masked_move(const Instruction& i) {
  static constexpr std::array list = {ZYDIS_MNEMONIC_MASKMOVDQU, ZYDIS_MNEMONIC_MASKMOVQ,   ZYDIS_MNEMONIC_VMASKMOVDQU,
                                      ZYDIS_MNEMONIC_VMASKMOVPS, ZYDIS_MNEMONIC_VMASKMOVPD, ZYDIS_MNEMONIC_VPMASKMOVD,
                                      ZYDIS_MNEMONIC_VPMASKMOVQ};
  return std::find(list.begin(), list.end(), i.info.mnemonic) != list.end();
}

int number_of(ZydisRegister reg) {
  const ZydisRegister parent = ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, reg);
  return ZydisRegisterGetClass(parent) == ZYDIS_REGCLASS_GPR64 ? ZydisRegisterGetId(parent) : -1;
}

const ZydisDecodedOperand* Instruction::memory() const {
  for (const ZydisDecodedOperand& op : operands())
    if (op.type == ZYDIS_OPERAND_TYPE_MEMORY && op.mem.type != ZYDIS_MEMOP_TYPE_AGEN) return &op;
  return nullptr;
}

std::string Instruction::text() const {
  static const ZydisFormatter formatter = [] {
    ZydisFormatter f;
    ZydisFormatterInit(&f, ZYDIS_FORMATTER_STYLE_INTEL);
    return f;
  }();
  char line[160] = "";
  ZydisFormatterFormatInstruction(&formatter, &info, operand.data(), info.operand_count_visible, line, sizeof line,
                                  sandbox::instruction, nullptr);
  return line;
}

bool decode(std::span<const u8> bytes, bool bits64, Instruction& out) {
  out.bits64 = bits64;
  if (!ZYAN_SUCCESS(
          ZydisDecoderDecodeFull(&decoder(bits64), bytes.data(), bytes.size(), &out.info, out.operand.data()))) {
    return false;
  }
  std::memcpy(out.bytes.data(), bytes.data(), out.info.length);
  // Base 101 with mod 00 is no base but disp32, also with REX.B (SDM vol. 2A, table 2-3); with 67 Zydis names R13D.
  if ((out.info.attributes & ZYDIS_ATTRIB_HAS_SIB) != 0 && out.info.raw.modrm.mod == 0 && out.info.raw.sib.base == 5) {
    for (ZydisDecodedOperand& op : out.operand) {
      if (op.type != ZYDIS_OPERAND_TYPE_MEMORY || op.visibility == ZYDIS_OPERAND_VISIBILITY_HIDDEN) continue;
      op.mem.base = ZYDIS_REGISTER_NONE;
      op.mem.disp.has_displacement = ZYAN_TRUE;
      op.mem.disp.value = out.info.raw.disp.value;
    }
  }
  return true;
}

bool plain(const Encoding& e, Instruction& out) {
  Bytes bytes;
  for (unsigned i = 0; i < prefix_table[e.prefixes].count; ++i) bytes.add(prefix_table[e.prefixes].byte[i]);
  // A gather's three registers must differ: 0 to 7, 1, and index 2.
  const bool gathers = e.vex && e.map == 2 && (e.opcode & 0xfc) == 0x90;
  add_opcode(bytes, e, 0, gathers ? 1 : 0);
  bytes.add(e.modrm);
  if (gathers) bytes.add(2 << 3);
  return decode({bytes.byte.data(), ZYDIS_MAX_INSTRUCTION_LENGTH}, e.bits64, out);
}

bool vary(const Encoding& e, Random& random, Instruction& out) {
  Bytes bytes;
  const bool memory_form = (e.modrm >> 6) != 3;
  if (random.percent(12)) bytes.add(0x67);
  if (memory_form && random.percent(12)) {
    static constexpr std::array<u8, 6> segments = {0x26, 0x2e, 0x36, 0x3e, 0x65, 0x65};
    bytes.add(random.of(segments));
  }
  for (unsigned i = 0; i < prefix_table[e.prefixes].count; ++i) bytes.add(prefix_table[e.prefixes].byte[i]);
  const u64 noise = random.next();
  const bool extended = e.bits64;
  // Where VEX names no third register, its field must be as if it named register 0.
  const u64 third = e.vex && (noise >> 40 & 3) == 0 ? 0 : (noise >> 3) & 15;
  add_opcode(bytes, e, extended ? noise & 7 : 0, extended ? third : third & 7);
  unsigned modrm = e.modrm;
  if ((noise >> 8) & 3) modrm = (modrm & ~0x38u) | ((noise >> 16) & 0x38);
  if ((noise >> 10) & 3) modrm = (modrm & ~7u) | ((noise >> 22) & 7);
  if (memory_form) modrm = (modrm & 0x3f) | ((noise >> 32) % 3) << 6;
  bytes.add(modrm);
  for (unsigned i = 0; i < 2; ++i) {
    const u64 tail = random.next();
    std::memcpy(&bytes.byte[bytes.count + 8 * i], &tail, 8);
  }
  const std::span<const u8> all{bytes.byte.data(), ZYDIS_MAX_INSTRUCTION_LENGTH};
  if (!decode(all, e.bits64, out)) return false;
  // 16-bit addresses reach the sandbox only through GS.
  if (out.info.address_width == 16 && memory_form && bytes.byte[0] == 0x67 && (bytes.byte[1] & 0xfe) != 0x64 &&
      random.percent(80)) {
    std::memmove(&bytes.byte[1], &bytes.byte[0], bytes.byte.size() - 1);
    bytes.byte[0] = 0x65;
    if (!decode(all, e.bits64, out)) return false;
  }
  patch_immediates(bytes, out, random);
  patch_displacement(bytes, out, random);
  return decode(all, e.bits64, out);
}

}  // namespace cloister::oracle
