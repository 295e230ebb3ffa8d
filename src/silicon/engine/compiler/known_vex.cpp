// The table of VEX-encoded vector instructions: an SSE instruction's has its opcode (SDM vol. 2A, 2.3.1), and its name
// with a V in front; the others have rows.
#include <Zydis/Zydis.h>

#include <array>
#include <string>
#include <string_view>
#include <unordered_map>

#include "silicon/engine/compiler/known.hpp"

namespace cloister::silicon {
namespace {

using enum Kind;

constexpr VectorRow more_rows[] = {
    {ZYDIS_MNEMONIC_VZEROUPPER, {.kind = vex_zero}},
    {ZYDIS_MNEMONIC_VBROADCASTSS, {vex, 0x663818}},
    {ZYDIS_MNEMONIC_VBROADCASTSD, {vex, 0x663819}},
    {ZYDIS_MNEMONIC_VBROADCASTF128, {vex, 0x66381a}},
    {ZYDIS_MNEMONIC_VBROADCASTI128, {vex, 0x66385a}},
    {ZYDIS_MNEMONIC_VPBROADCASTB, {vex, 0x663878}},
    {ZYDIS_MNEMONIC_VPBROADCASTW, {vex, 0x663879}},
    {ZYDIS_MNEMONIC_VPBROADCASTD, {vex, 0x663858}},
    {ZYDIS_MNEMONIC_VPBROADCASTQ, {vex, 0x663859}},
    {ZYDIS_MNEMONIC_VPERMD, {vex, 0x663836}},
    {ZYDIS_MNEMONIC_VPERMPS, {vex, 0x663816}},
    {ZYDIS_MNEMONIC_VPERMQ, {.kind = vex, .code = 0x663a00, .traits = trait::imm | trait::w}},
    {ZYDIS_MNEMONIC_VPERMPD, {.kind = vex, .code = 0x663a01, .traits = trait::imm | trait::w}},
    {ZYDIS_MNEMONIC_VPERM2F128, {.kind = vex, .code = 0x663a06, .traits = trait::imm}},
    {ZYDIS_MNEMONIC_VPERM2I128, {.kind = vex, .code = 0x663a46, .traits = trait::imm}},
    {ZYDIS_MNEMONIC_VINSERTF128, {.kind = vex, .code = 0x663a18, .traits = trait::imm}},
    {ZYDIS_MNEMONIC_VINSERTI128, {.kind = vex, .code = 0x663a38, .traits = trait::imm}},
    {ZYDIS_MNEMONIC_VEXTRACTF128, {.kind = vex_extract, .code = 0x663a19, .traits = trait::imm}},
    {ZYDIS_MNEMONIC_VEXTRACTI128, {.kind = vex_extract, .code = 0x663a39, .traits = trait::imm}},
    {ZYDIS_MNEMONIC_VPBLENDD, {.kind = vex, .code = 0x663a02, .traits = trait::imm}},
    {ZYDIS_MNEMONIC_VBLENDVPS, {.kind = vex, .code = 0x663a4a, .traits = trait::third}},
    {ZYDIS_MNEMONIC_VBLENDVPD, {.kind = vex, .code = 0x663a4b, .traits = trait::third}},
    {ZYDIS_MNEMONIC_VPBLENDVB, {.kind = vex, .code = 0x663a4c, .traits = trait::third}},
    {ZYDIS_MNEMONIC_VPSRLVD, {vex, 0x663845}},
    {ZYDIS_MNEMONIC_VPSRLVQ, {.kind = vex, .code = 0x663845, .traits = trait::w}},
    {ZYDIS_MNEMONIC_VPSRAVD, {vex, 0x663846}},
    {ZYDIS_MNEMONIC_VPSLLVD, {vex, 0x663847}},
    {ZYDIS_MNEMONIC_VPSLLVQ, {.kind = vex, .code = 0x663847, .traits = trait::w}},
};

/// Fused ones (SDM vol. 2, VFMADD132PD, …): the order of operands is the opcode's first digit.
struct Fused {
  std::string_view name;
  u32 packed, scalar;  ///< 0: there is none
};
constexpr Fused fused[] = {
    {"vfmaddsub", 0x96, 0}, {"vfmsubadd", 0x97, 0},  {"vfmadd", 0x98, 0x99},
    {"vfmsub", 0x9a, 0x9b}, {"vfnmadd", 0x9c, 0x9d}, {"vfnmsub", 0x9e, 0x9f},
};
constexpr std::string_view orders[] = {"132", "213", "231"};

using Table = std::array<Known, ZYDIS_MNEMONIC_MAX_VALUE + 1>;
using Names = std::unordered_map<std::string, u16>;

void put(Table& t, const Names& names, const std::string& name, const Known& known) {
  if (const auto found = names.find(name); found != names.end()) t[found->second] = known;
}

/// What an SSE instruction's row becomes; a handler, if its VEX-encoded form is not of its shape.
Known with_vex(const Known& sse) {
  Known k = sse;
  // The moves alone want their operand aligned.
  k.traits &= trait::imm | trait::computes;
  switch (sse.kind) {
    case vector: k.kind = vex; break;
    case vector_move:
      k.kind = vex_move;
      if ((sse.traits & trait::any_address) == 0) k.traits |= trait::aligned;
      break;
    case vector_shift: k.kind = vex_shift; break;
    case vector_scalar: k.kind = vex_scalar; break;
    case vector_in: k.kind = vex_in; break;
    case vector_flags: k.kind = vex_flags; break;
    case vector_to_general: k.kind = vex_to_general; break;
    default: return {};
  }
  return k;
}

Table make_table() {
  Names names;
  for (unsigned m = 0; m <= ZYDIS_MNEMONIC_MAX_VALUE; ++m)
    names[ZydisMnemonicGetString(static_cast<ZydisMnemonic>(m))] = static_cast<u16>(m);
  Table t{};
  for (const VectorRow& row : vector_rows()) {
    const std::string name = ZydisMnemonicGetString(static_cast<ZydisMnemonic>(row.mnemonic));
    if (!name.starts_with("sha") && !name.starts_with("blendv") && name != "pblendvb")
      put(t, names, "v" + name, with_vex(row.known));
  }
  // Parts of a register, which need no alignment.
  for (const char* const name : {"vmovss", "vmovsd", "vmovlps", "vmovlpd", "vmovhps", "vmovhpd"})
    t[names.at(name)].traits &= static_cast<u8>(~trait::aligned);
  for (const VectorRow& row : more_rows) t[row.mnemonic] = row.known;
  for (const Fused& f : fused) {
    for (u32 order = 0; order < 3; ++order) {
      for (const char* const type : {"ps", "pd", "ss", "sd"}) {
        const u32 code = type[0] == 'p' ? f.packed : f.scalar;
        const u8 w = type[1] == 'd' ? trait::w : u8{0};
        if (code == 0) continue;
        put(t, names, std::string(f.name).append(orders[order]).append(type),
            {.kind = vex, .code = 0x66'3800 | (code + 0x10 * order), .traits = static_cast<u8>(trait::computes | w)});
      }
    }
  }
  return t;
}

}  // namespace

Known known_vex(u16 mnemonic) {
  static const Table table = make_table();
  return table[mnemonic];
}

}  // namespace cloister::silicon
