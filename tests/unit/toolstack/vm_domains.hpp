// Domains for tests of the formats: those of the document that this is made after, and any number of generated ones.
#pragma once

#include <algorithm>
#include <random>
#include <set>
#include <string>

#include "interop/vm/kvm.hpp"
#include "interop/vm/provision.hpp"
#include "interop/vm/vm.hpp"

namespace cloister::tests {

/// Skylake-Client-IBRS with six SGX features: what the document ends with.
inline constexpr const char* document_xml = R"(<domain type='kvm'>
  <name>instance-00000001</name>
  <uuid>c7a5fdbd-edaf-9455-926a-d65c16db1809</uuid>
  <memory unit='GiB'>2</memory>
  <vcpu>2</vcpu>
  <os>
    <type arch='x86_64' machine='q35'>hvm</type>
  </os>
  <cpu mode='custom' match='exact'>
    <model fallback='forbid'>Skylake-Client-IBRS</model>
    <feature policy='require' name='sgx'/>
    <feature policy='require' name='sgxlc'/>
    <feature policy='require' name='sgx1'/>
    <feature policy='require' name='sgx-provisionkey'/>
    <feature policy='require' name='sgx-tokenkey'/>
    <feature policy='require' name='sgx-mode64'/>
  </cpu>
</domain>
)";
inline constexpr const char* document_cpu =
    "Skylake-Client-IBRS,sgx=on,sgx-mode64=on,sgx-provisionkey=on,sgx-tokenkey=on,sgx1=on,sgxlc=on";

/// A domain with nothing but a name, memory and a kernel.
inline toolstack::vm::Vm plain_vm() {
  toolstack::vm::Vm vm;
  vm.name = "d";
  vm.memory_kib = 1 << 20;
  vm.kernel = "/k";
  return vm;
}

/// Yes or no, and numbers, from a seed.
class Dice {
 public:
  explicit Dice(u32 seed) : engine_(seed) {}
  u32 below(u32 count) { return static_cast<u32>(engine_() % count); }
  bool even() { return below(2) == 0; }
  template <class Choices>
  auto one_of(const Choices& choices) {
    return *(std::begin(choices) + below(static_cast<u32>(std::size(choices))));
  }

 private:
  std::mt19937 engine_;
};

/// Printable text with what needs quoting.
inline std::string any_text(Dice& dice, u32 most) {
  constexpr std::string_view letters = "abz09 \"'\\,=$&<>`#;*~-_./";
  std::string text = "x";
  for (u32 i = dice.below(most); i > 0; --i) text += dice.one_of(letters);
  return text;
}

/// What libvirt and QEMU can say: any model, mode, SGX feature and EPC, and the clock but for a difference.
inline toolstack::vm::Vm any_vm(Dice& dice) {
  using namespace toolstack::vm;
  Vm vm;
  vm.name = any_text(dice, 12);
  std::ranges::replace(vm.name, '/', '-');
  vm.machine = dice.even() ? "q35" : "pc-q35-7.2";
  vm.memory_kib = u64{1 + dice.below(4096)} << 10;
  vm.vcpus = 1 + dice.below(16);
  if (dice.even()) vm.kernel = "/" + any_text(dice, 20);
  const bool boots = !vm.kernel.empty();
  if (dice.even() && boots) vm.ramdisk = "/" + any_text(dice, 20);
  if (dice.even() && boots) vm.cmdline = any_text(dice, 40);
  if (dice.even()) vm.uuid = "c7a5fdbd-edaf-9455-926a-d65c16db1809";
  constexpr const char* models[] = {"Skylake-Client-IBRS", "Icelake-Server", "EPYC"};
  constexpr CpuMode modes[] = {CpuMode::custom, CpuMode::host_passthrough, CpuMode::maximum};
  vm.cpu.mode = dice.one_of(modes);
  if (vm.cpu.mode == CpuMode::custom) vm.cpu.model = dice.one_of(models);
  // The words that both libvirt 9.0 and QEMU 7.2 have.
  constexpr const char* words[] = {
      "sgx",          "sgxlc",   "sgx1", "sgx2",      "sgx-exinfo", "sgx-debug",       "sgx-mode64",
      "sgx-tokenkey", "sgx-kss", "avx2", "pclmulqdq", "sse4.2",     "sgx-provisionkey"};
  for (const char* word : words) {
    if (dice.even()) put_feature(vm.cpu, word, dice.below(4) == 0 ? FeaturePolicy::disable : FeaturePolicy::require);
    if (word == std::string_view("sgx-provisionkey") && dice.even()) vm.provision = dice.even();
  }
  for (u32 i = dice.below(4); i > 0; --i) {
    Epc epc{.kib = u64{1 + dice.below(256)} << 11, .host_nodes = {}, .guest_node = {}, .at = {}};
    std::set<u32> nodes;
    for (u32 n = dice.below(4); n > 0; --n) nodes.insert(dice.below(8));
    epc.host_nodes.assign(nodes.begin(), nodes.end());
    if (dice.even()) epc.guest_node = dice.below(3);
    vm.epc.push_back(std::move(epc));
  }
  vm.clock.localtime = dice.even();
  if (dice.below(4) == 0) vm.type = "qemu";
  std::vector<Loss> losses;
  return as_qemu_runs(vm, losses);
}

}  // namespace cloister::tests
