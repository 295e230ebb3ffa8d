// Memory of the host that guests' memory lies in.
#pragma once

#include <memory>

#include "arch/types.hpp"

namespace cloister::silicon {

struct Unmapper {
  u64 bytes = 0;
  void operator()(u8* p) const;
};
using HostMapping = std::unique_ptr<u8, Unmapper>;
/// Anonymous zeroed memory, taken from the host when it is touched; null if there is none.
HostMapping map_host(u64 bytes);

}  // namespace cloister::silicon
