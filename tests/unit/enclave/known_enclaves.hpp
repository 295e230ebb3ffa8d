// Signed enclaves that others made. They are not part of the project: tests that need them are skipped without them.
#pragma once

#include <fstream>
#include <iterator>
#include <optional>
#include <string>
#include <vector>

#include "arch/types.hpp"

namespace cloister::enclave {

inline const std::string known_enclaves = CLOISTER_SOURCE_DIR "/../shared/data/enclaves/";

inline std::optional<std::vector<u8>> known_enclave(const std::string& name) {
  std::ifstream file(known_enclaves + name, std::ios::binary);
  if (!file) return std::nullopt;
  return std::vector<u8>(std::istreambuf_iterator<char>(file), {});
}

}  // namespace cloister::enclave
