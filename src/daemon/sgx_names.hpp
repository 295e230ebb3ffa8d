// SGX's numbers as metrics and pictures name them: page types in lower case, errors as the manual writes them. Leaves
// have their names beside their numbers (arch/sgx.hpp).
#pragma once

#include <array>
#include <string>

#include "arch/sgx.hpp"

namespace cloister::toolstack {

/// By arch::PageType (SDM vol. 3D, table 35-20).
inline constexpr std::array<const char*, 7> page_type_names = {"secs", "tcs",      "reg",    "va",
                                                               "trim", "ss_first", "ss_rest"};

inline const char* name_of(arch::PageType type) {
  const auto number = static_cast<std::size_t>(type);
  return number < page_type_names.size() ? page_type_names[number] : "unknown";
}

/// The name of a number; the number itself where it has none.
template <std::size_t n>
std::string name_in(const std::array<const char*, n>& names, std::size_t number) {
  return number < n && *names[number] != '\0' ? names[number] : std::to_string(number);
}

/// An error that EINIT returns (SDM vol. 3D, 38.3, EINIT); `vmx::diagnostics` counts those above 62 together.
inline std::string einit_error_name(std::size_t code) {
  switch (static_cast<arch::SgxError>(code)) {
    case arch::SgxError::invalid_sig_struct: return "SGX_INVALID_SIG_STRUCT";
    case arch::SgxError::invalid_attribute: return "SGX_INVALID_ATTRIBUTE";
    case arch::SgxError::invalid_measurement: return "SGX_INVALID_MEASUREMENT";
    case arch::SgxError::invalid_signature: return "SGX_INVALID_SIGNATURE";
    case arch::SgxError::invalid_einittoken: return "SGX_INVALID_EINITTOKEN";
    case arch::SgxError::invalid_cpusvn: return "SGX_INVALID_CPUSVN";
    default: return code == 63 ? "other" : std::to_string(code);
  }
}

}  // namespace cloister::toolstack
