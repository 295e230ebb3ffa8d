// What may be chosen of the engine that translates.
#pragma once

#include "arch/types.hpp"

namespace cloister::silicon {

struct CompilerOptions {
  u32 entries = 200;               ///< a block is translated after so many; 0: at once, and single steps too (tests)
  bool blinded = true;             ///< no constant of more than 16 bits that a guest chose is in the code as it is
  u64 code_bytes = u64{64} << 20;  ///< of a processor's code, at most: then it begins anew
};

/// For processors that are made from now on.
void set_compiler_options(const CompilerOptions& options);
const CompilerOptions& compiler_options();

}  // namespace cloister::silicon
