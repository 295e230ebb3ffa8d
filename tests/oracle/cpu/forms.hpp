// Every instruction form that the dispatcher knows, found by walking the opcode maps.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "oracle/cpu/instruction.hpp"
#include "silicon/silicon.hpp"

namespace cloister::oracle {

struct Form {
  std::string key;  ///< the dispatcher's name: "lock add m64, r64", with "far " before far returns
  ZydisMnemonic mnemonic = ZYDIS_MNEMONIC_INVALID;
  ZydisISAExt extension = ZYDIS_ISA_EXT_INVALID;
  ZydisISASet set = ZYDIS_ISA_SET_INVALID;
  std::vector<Encoding> encodings;  ///< a sample of them
};

/// The form's key, or empty if the dispatcher does not know the instruction.
std::string key_of(const Instruction& instruction);

/// Walks prefixes x REX x maps x opcodes x ModRM, and VEX maps 1 to 3, and groups what the dispatcher knows by form.
/// `wanted` chooses mnemonics.
std::map<std::string, Form> enumerate_forms(bool bits64, const std::function<bool(ZydisMnemonic)>& wanted);

/// Groups of mnemonics, each a test case of its own: the dispatcher's tables.
struct Family {
  const char* name;
  std::span<const silicon::Row> (*rows)();
};
std::span<const Family> families();

}  // namespace cloister::oracle
