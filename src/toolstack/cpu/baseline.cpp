#include "toolstack/cpu/cpu.hpp"

namespace cloister::toolstack::cpu {

int baseline(const std::vector<std::string>&, bool) { return status::failed; }

}  // namespace cloister::toolstack::cpu
