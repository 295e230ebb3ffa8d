// What QEMU needs of a host to run a domain, looked at before QEMU does: of a device that it cannot open it says no
// more than "invalid object type: memory-backend-epc" (QEMU, docs/system/i386/sgx.rst; Linux,
// Documentation/arch/x86/sgx.rst, "Virtualization").
#pragma once

#include <chrono>
#include <string>
#include <tl/expected.hpp>

#include "config/config.hpp"

namespace cloister::toolstack::qemu {

struct Host {
  std::string devices = "/dev";                ///< the folder of kvm, sgx_vepc and sgx_provision
  std::string program = "qemu-system-x86_64";  ///< a path, or a name that PATH finds
  bool interpreted = false;                    ///< QEMU's TCG in place of KVM, which no user gets: it has no SGX
  std::chrono::milliseconds patience{5000};    ///< what QEMU may take to end when it is asked to
};

/// The path of the program, if the host has all that the domain needs; the error is one line that says what it lacks.
tl::expected<std::string, std::string> check_host(const Host& host, const DomainConfig& config);

}  // namespace cloister::toolstack::qemu
