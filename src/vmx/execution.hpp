// How a processor ran its guest's instructions. For people: nothing is decided by it, and a guest cannot tell.
#pragma once

#include "arch/types.hpp"

namespace cloister::vmx {

struct Execution {
  // Instructions, by what did them; not to the last one. On hardware there is none of these.
  u64 translated = 0;   ///< code of the host's that the guest's was translated to
  u64 by_handler = 0;   ///< a function that such code called for them
  u64 interpreted = 0;  ///< functions alone

  u64 blocks = 0;      ///< that were translated
  u64 code_bytes = 0;  ///< that they became
  u64 flushes = 0;     ///< of all such code, for want of room

  Execution& operator+=(const Execution& more) {
    translated += more.translated;
    by_handler += more.by_handler;
    interpreted += more.interpreted;
    blocks += more.blocks;
    code_bytes += more.code_bytes;
    flushes += more.flushes;
    return *this;
  }
};

}  // namespace cloister::vmx
