// Anonymous mappings (mmap(2)).
#include "silicon/memory/host_mapping.hpp"

#include <sys/mman.h>

namespace cloister::silicon {

void Unmapper::operator()(u8* p) const { ::munmap(p, bytes); }

HostMapping map_host(u64 bytes) {
  void* const p = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) return HostMapping{nullptr, Unmapper{0}};
  return HostMapping{static_cast<u8*>(p), Unmapper{bytes}};
}

}  // namespace cloister::silicon
