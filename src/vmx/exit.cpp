#include "vmx/exit.hpp"

namespace cloister::vmx {

const char* name_of(ExitReason reason) {
  switch (reason) {
#define CLOISTER_NAME(name, number, handler) \
  case ExitReason::name: return #name;
    CLOISTER_EXIT_REASONS(CLOISTER_NAME)
#undef CLOISTER_NAME
  }
  return "unknown";
}

}  // namespace cloister::vmx
