// The processor that the key `silicon` asks for: everything that is implemented, or a description by its name or as a
// CPUID dump, as far as it is implemented.
#pragma once

#include <string_view>
#include <tl/expected.hpp>
#include <vector>

#include "policy/descriptions.hpp"
#include "silicon/features.hpp"
#include "toolstack/config.hpp"
#include "toolstack/diagnostic.hpp"

namespace cloister::toolstack {

/// How the described processor and the implemented one differ; nothing for "default".
struct DescribedSilicon {
  policy::SgxState sgx = policy::SgxState::offered;  ///< what the description says of it
  policy::Masking masking;
};

struct ChosenSilicon {
  silicon::Features features;
  DescribedSilicon described;
  std::vector<Diagnostic> warnings;
};

/// A value of `silicon` is the path of a dump if it has a '/' or a '.'; names have neither.
bool names_a_dump(std::string_view silicon);

/// Reads the dump, if it is one. The error stands at `silicon`: the file cannot be read or is no dump (with the dump's
/// own line), or the domain has EPC and the description no SGX, or not all of it.
tl::expected<ChosenSilicon, Diagnostic> choose_silicon(const DomainConfig& config);

}  // namespace cloister::toolstack
