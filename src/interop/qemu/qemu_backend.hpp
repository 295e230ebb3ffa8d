// `cloister run --backend=qemu`: the domain on QEMU and KVM, with EPC of the machine's own SGX (docs/qemu-backend.md).
#pragma once

#include <string>
#include <tl/expected.hpp>
#include <vector>

#include "config/config.hpp"
#include "interop/qemu/host.hpp"
#include "run/run.hpp"
#include "vmx/backend.hpp"

namespace cloister::toolstack {

struct QemuCommand {
  std::vector<std::string> arguments;  ///< without the program
  std::string text;                    ///< with it, for a shell
};
/// What `cloister cpu render --for qemu` makes of the domain, with its console on standard input and output. The error
/// is a fact of the configuration that QEMU has no words for.
tl::expected<QemuCommand, Diagnostic> qemu_command(const DomainConfig& config, const qemu::Host& host,
                                                   const vmx::Backend& silicon);

/// Runs a domain; the exit status. `arguments` and `config` are those of the run, which has shown the warnings.
int run_on_qemu(const RunArguments& arguments, const DomainConfig& config, const vmx::Backend& silicon,
                const qemu::Host& host = {});

}  // namespace cloister::toolstack
