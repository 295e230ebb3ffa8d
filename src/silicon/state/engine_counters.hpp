// What an engine that translates counts, for statistics: one processor's, written by its thread alone.
#pragma once

#include "arch/types.hpp"

namespace cloister::silicon {

struct EngineCounters {
  u64 blocks = 0;       ///< that were translated
  u64 bytes = 0;        ///< of code that they became
  u64 flushes = 0;      ///< of all code, because there was no room for more
  u64 by_handler = 0;   ///< instructions of translated blocks that their handlers did, or a second time tried
  u64 interpreted = 0;  ///< instructions of blocks that are not translated: as many as were entered, about
  bool works = false;   ///< there is memory for code: else everything is interpreted
};

}  // namespace cloister::silicon
