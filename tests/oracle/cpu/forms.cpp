// The walk over the opcode maps (SDM vol. 2D, appendix A).
#include "oracle/cpu/forms.hpp"

#include "silicon/isa/avx/rows.hpp"
#include "silicon/isa/integer/rows.hpp"
#include "silicon/isa/system/rows.hpp"
#include "silicon/isa/vector/rows.hpp"
#include "silicon/isa/x87/rows.hpp"
#include "silicon/sgx/leaves/rows.hpp"

namespace cloister::oracle {
namespace {

constexpr std::size_t sample = 256;  // encodings kept of a form

/// ModRM bytes to try: register forms with every reg and rm (rm selects the instruction in 0F 01, 0F AE and D8 to DF),
/// memory forms with every reg, without SIB and with it, which gathers need.
constexpr std::array<u8, 80> modrm_bytes = [] {
  std::array<u8, 80> bytes{};
  for (unsigned i = 0; i < 64; ++i) bytes[i] = static_cast<u8>(0xc0 + i);
  for (unsigned i = 0; i < 8; ++i) bytes[64 + i] = static_cast<u8>(8 * i);
  for (unsigned i = 0; i < 8; ++i) bytes[72 + i] = static_cast<u8>(8 * i + 4);
  return bytes;
}();

class Walk {
 public:
  Walk(bool bits64, const std::function<bool(ZydisMnemonic)>& wanted) : bits64_(bits64), wanted_(wanted) {}

  std::map<std::string, Form> run() {
    for (u8 map = 0; map < 4; ++map) {
      for (u8 prefixes = 0; prefixes < prefix_kinds; ++prefixes) {
        for (u8 rex = 0; rex < (bits64_ ? 3 : 1); ++rex) opcodes({bits64_, prefixes, rex, false, 0, 0, map, 0, 0});
      }
    }
    for (u8 map = 1; map < 4; ++map) {
      for (u8 pp = 0; pp < 4; ++pp) {
        for (u8 w = 0; w < 2; ++w) {
          for (u8 l = 0; l < 2; ++l) opcodes({bits64_, 0, static_cast<u8>(1 + w), true, pp, l, map, 0, 0});
        }
      }
    }
    return std::move(forms_);
  }

 private:
  void opcodes(Encoding e) {
    for (unsigned opcode = 0; opcode < 256; ++opcode) {
      e.opcode = static_cast<u8>(opcode);
      for (const u8 modrm : modrm_bytes) {
        e.modrm = modrm;
        Instruction instruction;
        if (!plain(e, instruction) || !stands_for(e, instruction)) continue;
        if (wanted_(instruction.info.mnemonic)) add(e, instruction);
        if ((instruction.info.attributes & ZYDIS_ATTRIB_HAS_MODRM) == 0) break;
      }
    }
  }

  /// The opcode byte was read as an opcode, not as a prefix or an escape to another map.
  static bool stands_for(const Encoding& e, const Instruction& i) {
    static constexpr std::array<ZydisOpcodeMap, 4> maps = {ZYDIS_OPCODE_MAP_DEFAULT, ZYDIS_OPCODE_MAP_0F,
                                                           ZYDIS_OPCODE_MAP_0F38, ZYDIS_OPCODE_MAP_0F3A};
    const ZydisInstructionEncoding encoding =
        e.vex ? ZYDIS_INSTRUCTION_ENCODING_VEX : ZYDIS_INSTRUCTION_ENCODING_LEGACY;
    return i.info.opcode == e.opcode && i.info.opcode_map == maps[e.map] && i.info.encoding == encoding;
  }

  void add(const Encoding& e, const Instruction& instruction) {
    std::string key = key_of(instruction);
    if (key.empty()) return;
    Form& form = forms_[key];
    if (form.encodings.empty()) {
      form.key = std::move(key);
      form.mnemonic = instruction.info.mnemonic;
      form.extension = instruction.info.meta.isa_ext;
      form.set = instruction.info.meta.isa_set;
    }
    // Reservoir sampling: every encoding is kept with the same probability.
    if (form.encodings.size() < sample) {
      form.encodings.push_back(e);
    } else if (const u64 slot = random_.below(++seen_[form.key] + sample); slot < sample) {
      form.encodings[slot] = e;
    }
  }

  bool bits64_;
  const std::function<bool(ZydisMnemonic)>& wanted_;
  std::map<std::string, Form> forms_;
  std::map<std::string, u64> seen_;
  Random random_{1};
};

}  // namespace

std::string key_of(const Instruction& instruction) {
  const silicon::FormName form = silicon::form_of(
      instruction.code(), instruction.bits64 ? silicon::CodeMode::bits64 : silicon::CodeMode::compat32);
  if (!form.known) return {};
  const bool far_return = instruction.info.mnemonic == ZYDIS_MNEMONIC_RET && (instruction.info.opcode & 0xfe) == 0xca;
  return far_return ? "far " + form.name : form.name;
}

std::map<std::string, Form> enumerate_forms(bool bits64, const std::function<bool(ZydisMnemonic)>& wanted) {
  return Walk(bits64, wanted).run();
}

std::span<const Family> families() {
  using namespace silicon;
  static constexpr std::array<Family, 20> table = {
      {{"integer", integer_rows}, {"bit", bit_rows},
       {"string", string_rows},   {"branch", branch_rows},
       {"stack", stack_rows},     {"legacy", legacy_rows},
       {"sse", sse_rows},         {"sse_integer", sse_integer_rows},
       {"mmx", mmx_rows},         {"crypto", crypto_rows},
       {"avx", avx_rows},         {"x87", x87_rows},
       {"xsave", xsave_rows},     {"system", system_rows},
       {"control", control_rows}, {"segment", segment_rows},
       {"iret", iret_rows},       {"software_interrupt", software_interrupt_rows},
       {"syscall", syscall_rows}, {"sgx", sgx_rows}}};
  return table;
}

}  // namespace cloister::oracle
