#include "toolstack/cpu/cpu.hpp"

namespace cloister::toolstack::cpu {

int render(const RenderArguments&) { return status::failed; }

}  // namespace cloister::toolstack::cpu
