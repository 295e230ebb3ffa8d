// Signed enclaves from the field, outside this source tree: tests that need them are skipped where they are not.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "arch/sgx.hpp"

namespace cloister::silicon {

/// $CLOISTER_SHARED, or the directory "shared" beside the source tree.
inline std::filesystem::path shared_enclave(const std::string& name) {
  const char* const given = std::getenv("CLOISTER_SHARED");
  const std::filesystem::path root = given != nullptr
                                         ? std::filesystem::path(given)
                                         : std::filesystem::path(CLOISTER_SOURCE_DIR).parent_path() / "shared";
  return root / "data" / "enclaves" / name;
}

/// The file's bytes; none if it is absent.
inline std::vector<u8> read_shared(const std::string& name) {
  std::ifstream file(shared_enclave(name), std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

inline arch::Sigstruct sigstruct_from(const std::vector<u8>& bytes) {
  arch::Sigstruct s{};
  if (bytes.size() == sizeof s) std::memcpy(&s, bytes.data(), sizeof s);
  return s;
}

/// One record of an SGXS stream with the data that follows it.
struct SgxsRecord {
  std::string name;  ///< ECREATE, EADD, EEXTEND or UNMEASRD
  std::array<u8, 64> head{};
  std::vector<u8> data;
  template <class T>
  T field(std::size_t at) const {
    T t;
    std::memcpy(&t, head.data() + at, sizeof t);
    return t;
  }
};

inline std::vector<SgxsRecord> parse_sgxs(const std::vector<u8>& bytes) {
  constexpr std::size_t chunk = 256;
  std::vector<SgxsRecord> records;
  for (std::size_t at = 0; at + 64 <= bytes.size();) {
    SgxsRecord r;
    std::memcpy(r.head.data(), bytes.data() + at, r.head.size());
    for (std::size_t i = 0; i < 8 && r.head[i] != 0; ++i) r.name.push_back(static_cast<char>(r.head[i]));
    at += 64;
    if ((r.name == "EEXTEND" || r.name == "UNMEASRD") && at + chunk <= bytes.size()) {
      r.data.assign(bytes.begin() + static_cast<std::ptrdiff_t>(at),
                    bytes.begin() + static_cast<std::ptrdiff_t>(at + chunk));
      at += chunk;
    }
    records.push_back(std::move(r));
  }
  return records;
}

#define CLOISTER_SKIP_WITHOUT(bytes, name) \
  if ((bytes).empty()) GTEST_SKIP() << shared_enclave(name) << " is absent (set CLOISTER_SHARED)"

}  // namespace cloister::silicon
