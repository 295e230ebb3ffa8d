// Domains for tests of the formats: those of the document that this is made after, and any number of generated ones.
#pragma once

#include <random>
#include <string>

#include "policy/flags.hpp"
#include "policy/policy.hpp"
#include "toolstack/vm/vm.hpp"

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

}  // namespace cloister::tests
