// The processor that the key `silicon` asks for: the machine's, a description by its name or as a CPUID dump, or a
// model of libvirt's with `cpu_flags`, as far as the machine offers it. The machine's own is everything that is
// implemented, or a description by its name (machine/machine_silicon.hpp).
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <vector>

#include "config/config.hpp"
#include "host/whole_file.hpp"
#include "machine/machine_silicon.hpp"
#include "plan/host_features.hpp"
#include "policy/descriptions.hpp"
#include "text/diagnostic.hpp"
#include "vmx/backend.hpp"

namespace cloister::toolstack {

/// How the described processor and what the machine offers differ; nothing for "default" on a machine of that kind.
struct DescribedSilicon {
  std::string name = "default";                      ///< the domain's own, else the machine's
  policy::SgxState sgx = policy::SgxState::offered;  ///< what the description says of it
  policy::Masking masking;
};

struct ChosenSilicon {
  vmx::Features features;
  DescribedSilicon described;
  std::vector<Diagnostic> warnings;
};

/// The bytes of a dump; the error is for a person.
using FileReader = std::function<tl::expected<std::vector<u8>, std::string>(const std::string& path)>;
inline tl::expected<std::vector<u8>, std::string> read_dump(const std::string& path) {
  return read_regular(path, longest_dump);
}

/// The domain's processor on a machine with that `silicon`. Reads the dump, if it is one. What the machine has not is
/// masked, with a warning if it is of SGX, and of flags that are not there. The error stands at `silicon` or at
/// `cpu_flags`: the file cannot be read or is no dump (with the dump's own line), or the domain has EPC and the
/// description, or the model with its flags, no SGX, or not all of it. `host`: of the features that depend on the host,
/// those that it has already; none: it is made now, and has all that there are.
tl::expected<ChosenSilicon, Diagnostic> choose_silicon(const vmx::Backend& silicon, const DomainConfig& config,
                                                       const std::string& machine = {},
                                                       const FileReader& read = read_dump,
                                                       const std::optional<HostFeatures>& host = {});

}  // namespace cloister::toolstack
