// In the order in which a person would mend it: the program, KVM, the EPC's device, then what only QEMU can tell.
#include "interop/qemu/host.hpp"

#include <fcntl.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <sstream>

#include "arch/try.hpp"
#include "host/files.hpp"
#include "interop/qemu/process.hpp"

namespace cloister::toolstack::qemu {

namespace {

struct Device {
  const char* name;
  int access;          ///< as QEMU opens it
  const char* absent;  ///< why it may be missing
  const char* denied;  ///< who may open it
};
constexpr Device kvm{"kvm", O_RDWR, "KVM is not loaded, or virtualization is off in firmware",
                     "users in the group kvm have it"};
constexpr Device vepc{"sgx_vepc", O_RDWR,
                      "SGX is absent or off in firmware, or the kernel is older than 5.13 or without X86_SGX_KVM",
                      "it is root's unless a udev rule says otherwise"};
constexpr Device provision{"sgx_provision", O_RDONLY, "sgx_provision = 1 needs it, and the kernel has no SGX driver",
                           "sgx_provision = 1 needs it, and users in the group sgx_prv have it"};

/// What is wrong with a device; empty: nothing.
std::string trouble_with(const Device& device, const std::string& folder) {
  const std::string path = folder + "/" + device.name;
  if (Fd(::open(path.c_str(), device.access | O_CLOEXEC))) return {};
  const int error = errno;
  if (error == ENOENT) return "no " + path + ": " + device.absent;
  if (error == EACCES || error == EPERM) return "no permission on " + path + ": " + device.denied;
  return "cannot open " + path + ": " + std::strerror(error);
}

/// The path of a program; empty if there is none that may be run.
std::string find_program(const std::string& program) {
  if (program.find('/') != std::string::npos) return ::access(program.c_str(), X_OK) == 0 ? program : "";
  const char* const path = std::getenv("PATH");
  std::istringstream folders(path != nullptr ? path : "/usr/bin:/bin");
  for (std::string folder; std::getline(folders, folder, ':');) {
    const std::string candidate = (folder.empty() ? "." : folder) + "/" + program;
    if (::access(candidate.c_str(), X_OK) == 0) return candidate;
  }
  return {};
}

}  // namespace

tl::expected<std::string, std::string> check_host(const Host& host, const DomainConfig& config) {
  const std::string program = find_program(host.program);
  if (program.empty()) return tl::unexpected("no program " + host.program + ": QEMU is not installed");
  const bool epc = !config.epc.empty();
  const std::pair<const Device&, bool> devices[] = {
      {kvm, !host.interpreted}, {vepc, epc}, {provision, epc && config.sgx_provision}};
  for (const auto& [device, needed] : devices) {
    const std::string trouble = needed ? trouble_with(device, host.devices) : "";
    if (!trouble.empty()) return tl::unexpected(trouble);
  }
  if (!epc) return program;
  // QEMU 6.2 is the first with it. It lists the type only where it can open the device.
  const auto objects = TRY(output_of(program, {"-object", "help"}));
  if (objects.find("memory-backend-epc") == std::string::npos)
    return tl::unexpected("no memory-backend-epc in " + program + ": it is older than 6.2, or built without SGX");
  return program;
}

}  // namespace cloister::toolstack::qemu
