// From instruction bytes to an Op. Zydis decodes; a row per mnemonic selects the handler for the operands' kinds and
// sizes. A mnemonic without a row, or operands that its row does not take, raise #UD and are counted.
#pragma once

#include <span>
#include <string>

#include "silicon/isa/insn.hpp"

namespace cloister::silicon {

/// Decodes one instruction at `bytes` into `op`. Never fails: what cannot be decoded gets a handler that raises the
/// right exception (#UD; #GP for more than 15 bytes). `available`: bytes that could be fetched; if more are needed,
/// `truncated` is set and `op` is not filled in.
struct Decoded {
  bool ends_block = false;
  bool truncated = false;
  Form form = {};
};
Decoded decode(std::span<const u8> available, CodeMode mode, u16 offset, Op& op,
               EnclaveCode where = EnclaveCode::outside);

/// As decode(), but only says what the dispatcher makes of it: for tests and reports.
struct FormName {
  bool known = false;  ///< a row takes it
  std::string name;    ///< "add r64, m64"
  ZydisMnemonic mnemonic = ZYDIS_MNEMONIC_INVALID;
};
FormName form_of(std::span<const u8> bytes, CodeMode mode);

}  // namespace cloister::silicon
