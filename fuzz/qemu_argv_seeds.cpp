// A first corpus for qemu_argv_fuzz: commands for a shell, and the bytes of /proc/PID/cmdline.
#include <fstream>
#include <string>

#include "interop/vm/formats.hpp"
#include "unit/toolstack/vm_domains.hpp"

int main(int count, char** words) {
  using namespace cloister;
  namespace vm = toolstack::vm;
  if (count != 2) return 2;
  const std::string folder = words[1];
  for (u32 seed = 0; seed < 8; ++seed) {
    tests::Dice dice(seed);
    const vm::Vm domain = tests::any_vm(dice);
    const std::string number = std::to_string(seed);
    std::ofstream(folder + "/shell" + number, std::ios::binary) << vm::to_qemu(domain).text;
    std::ofstream cmdline(folder + "/cmdline" + number, std::ios::binary);
    cmdline << "qemu-system-x86_64" << '\0';
    for (const std::string& word : vm::qemu_argv(domain)) cmdline << word << '\0';
  }
  std::ofstream(folder + "/json", std::ios::binary)
      << "qemu -cpu host,+sgx -M q35,sgx-epc.0.memdev=m,sgx-epc.0.node=0 -object "
         "'{\"qom-type\":\"memory-backend-epc\",\"id\":\"m\",\"size\":1048576,\"host-nodes\":[0]}'";
  for (const char* heading : {"2026-11-02 10:00:00.1+0000: starting up libvirt version: 9.0.0\n", ""})
    std::ofstream(folder + "/log" + std::to_string(*heading), std::ios::binary)
        << heading << "LC_ALL=C \\\n/usr/bin/kvm \\\n-cpu host,+sgx \\\n-no-kvm -smp 1,maxcpus=2 \\\n"
        << "-numa node,cpus=0,mem=64 -numa node,cpus=1,mem=64\nchar device redirected to /dev/pts/0\n"
        << "2026-11-02T10:00:00Z qemu-system-x86_64: terminating\n"
        << heading << "kvm \\\n-S\n";
  return 0;
}
