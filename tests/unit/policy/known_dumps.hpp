// CPUID dumps of real machines that others published. They are not part of the project: tests that need them are
// skipped without them.
#pragma once

#include <fstream>
#include <iterator>
#include <optional>
#include <string>

namespace cloister::tests {

inline const std::string known_dumps = CLOISTER_SOURCE_DIR "/../shared/data/cpuid/";

inline std::optional<std::string> known_dump(const std::string& name) {
  std::ifstream file(known_dumps + name, std::ios::binary);
  if (!file) return std::nullopt;
  return std::string(std::istreambuf_iterator<char>(file), {});
}

}  // namespace cloister::tests
