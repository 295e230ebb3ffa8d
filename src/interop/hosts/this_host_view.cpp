// This host: CPUID on each processor, MSRs through Linux's msr driver, devices by whether this process may open them,
// and NUMA nodes from sysfs (Documentation/ABI/stable/sysfs-devices-node: x86/sgx_total_bytes).
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>

#include "arch/msr.hpp"
#include "host/fd.hpp"
#include "interop/hosts/hosts.hpp"
#include "policy/leaves.hpp"

namespace cloister::toolstack {

namespace {

namespace fs = std::filesystem;
using policy::CpuidRegs;
using policy::CpuidTable;
using policy::HostEnvironment;
using Raw = std::function<CpuidRegs(u32 leaf, u32 subleaf)>;

/// Leaf 12H with the sub-leaf that ends its list: so a list without sections is known to be empty.
void read_sgx(CpuidTable& table, const Raw& raw) {
  constexpr u32 type = 0xf, first_section = 2, most = 64;
  if (raw(arch::leaf::basic_max, 0).eax < arch::leaf::sgx) return;
  for (u32 subleaf = 0; subleaf < most; ++subleaf) {
    const CpuidRegs regs = raw(arch::leaf::sgx, subleaf);
    table.set(arch::leaf::sgx, subleaf, regs);
    if (subleaf >= first_section && (regs.eax & type) == 0) break;
  }
}

/// All leaves of the first processor; of the others, which are many, those in which SGX must agree.
std::vector<policy::DumpedCpu> read_processors(const HostFacts& facts) {
  std::vector<policy::DumpedCpu> cpus;
  for (const HostCpu& cpu : facts.cpus) {
    const Raw raw = [&](u32 leaf, u32 subleaf) { return facts.cpuid(cpu.number, leaf, subleaf); };
    // One that went offline says nothing.
    if (raw(arch::leaf::basic_max, 0) == CpuidRegs{}) continue;
    CpuidTable table;
    if (cpus.empty()) {
      table = policy::read_processor(raw);
    } else {
      for (const u32 leaf : {arch::leaf::basic_max, arch::leaf::version, arch::leaf::features})
        table.set(leaf, 0, raw(leaf, 0));
    }
    read_sgx(table, raw);
    cpus.push_back({cpu.number, std::move(table)});
  }
  return cpus;
}

HostEnvironment::Device device(const std::string& path) {
  if (access(path.c_str(), R_OK | W_OK) == 0) return HostEnvironment::Device::usable;
  return errno == ENOENT || errno == ENOTDIR || errno == ENXIO ? HostEnvironment::Device::absent
                                                               : HostEnvironment::Device::refused;
}

/// The msr driver reads the register whose index is the offset.
std::optional<u64> read_msr(int fd, u32 index) {
  u64 value = 0;
  if (pread(fd, &value, sizeof value, index) != static_cast<ssize_t>(sizeof value)) return std::nullopt;
  return value;
}

void read_msrs(HostEnvironment& environment, const std::string& path) {
  const Fd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return;
  environment.feature_control = read_msr(fd.get(), arch::msr::feature_control);
  std::array<u64, 4> hash{};
  for (u32 i = 0; i < hash.size(); ++i) {
    const auto value = read_msr(fd.get(), arch::msr::sgxlepubkeyhash0 + i);
    if (!value) return;
    hash[i] = *value;
  }
  environment.lepubkeyhash = hash;
}

std::map<u32, u64> read_nodes(const std::string& folder) {
  std::map<u32, u64> nodes;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    constexpr std::string_view prefix = "node";
    const std::string name = entry->path().filename();
    if (!name.starts_with(prefix) || name.size() == prefix.size() || name.size() > prefix.size() + 6 ||
        name.find_first_not_of("0123456789", prefix.size()) != name.npos)
      continue;
    std::ifstream file(entry->path() / "x86/sgx_total_bytes");
    if (u64 bytes = 0; file >> bytes) nodes[static_cast<u32>(std::stoul(name.substr(prefix.size())))] = bytes;
  }
  return nodes;
}

}  // namespace

policy::HostView host_view(const HostFacts& facts, const std::string& root) {
  policy::HostView host;
  host.name = "this host";
  host.source = "CPUID";
  host.cpus = read_processors(facts);
  HostEnvironment environment;
  environment.enclave = device(root + "/dev/sgx_enclave");
  environment.vepc = device(root + "/dev/sgx_vepc");
  environment.provision = device(root + "/dev/sgx_provision");
  environment.kvm = device(root + "/dev/kvm");
  if (!host.cpus.empty())
    read_msrs(environment, root + "/dev/cpu/" + std::to_string(host.cpus.front().number) + "/msr");
  environment.node_bytes = read_nodes(root + "/sys/devices/system/node");
  host.environment = std::move(environment);
  return host;
}

policy::HostView this_host_view() { return host_view(this_host(), ""); }

}  // namespace cloister::toolstack
