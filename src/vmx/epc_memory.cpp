#include "vmx/epc_memory.hpp"

namespace cloister::vmx {

const char* name_of(MemoryError error) {
  switch (error) {
    case MemoryError::no_memory: return "no_memory";
    case MemoryError::not_sealed: return "not_sealed";
    case MemoryError::wrong_size: return "wrong_size";
    case MemoryError::wrong_layout: return "wrong_layout";
    case MemoryError::not_writable: return "not_writable";
  }
  return "unknown";
}

}  // namespace cloister::vmx
