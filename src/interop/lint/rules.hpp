// Mistakes that people make with SGX in a domain's settings: a table of rules, each a function over what a file says
// and what is known of its host. docs/cpu-lint.md is the list for people.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "interop/lint/subject.hpp"
#include "policy/cpu_map.hpp"
#include "policy/host_view.hpp"

namespace cloister::toolstack::lint {

/// What rules judge by.
struct Case {
  const Subject& subject;
  const policy::HostView* host = nullptr;     ///< null: unknown
  const policy::SgxReport* report = nullptr;  ///< of the same host
  const policy::CpuMap* map = nullptr;        ///< libvirt's; null: not installed
};

struct Finding {
  std::string_view rule;
  Position at;
  std::string message;  ///< what is wrong, and what comes of it
  std::string mend;     ///< what to do
};

using Report = std::function<void(Position at, std::string message, std::string mend)>;

struct Rule {
  std::string_view name;
  std::string_view about;  ///< one sentence, without a full stop
  void (*look)(const Case&, const Report&);
};
std::span<const Rule> rules();

/// What all rules find, in the order of the file.
std::vector<Finding> lint(const Case& of);

// The rules, by what they look at.
// rules_cpu.cpp: the choice of a processor
void duplicate_cpu(const Case&, const Report&);
void overridden_model(const Case&, const Report&);
void cpu_without_model(const Case&, const Report&);
void joined_argument(const Case&, const Report&);
void two_accelerators(const Case&, const Report&);
void missing_sgx(const Case&, const Report&);
void missing_mode64(const Case&, const Report&);
void missing_launch(const Case&, const Report&);
void missing_sgx1(const Case&, const Report&);
// rules_words.cpp: the words for flags
void unknown_model(const Case&, const Report&);
void unknown_flag(const Case&, const Report&);
void foreign_word(const Case&, const Report&);
void odd_value(const Case&, const Report&);
void repeated_flag(const Case&, const Report&);
void flag_not_in_map(const Case&, const Report&);
// rules_epc.cpp: the enclave page cache
void flags_without_epc(const Case&, const Report&);
void epc_without_flags(const Case&, const Report&);
void no_prealloc(const Case&, const Report&);
void epc_on_no_node(const Case&, const Report&);
void old_sgx_epc(const Case&, const Report&);
void old_word(const Case&, const Report&);
void refused_epc(const Case&, const Report&);
void rounded_epc(const Case&, const Report&);
void epc_past_libvirt(const Case&, const Report&);
void epc_not_attached(const Case&, const Report&);
// rules_host.cpp: what the host allows
void host_without_sgx(const Case&, const Report&);
void epc_beyond_host(const Case&, const Report&);
void narrow_xfrm(const Case&, const Report&);
void sgx_without_kvm(const Case&, const Report&);
void locked_launch_control(const Case&, const Report&);
void provisioning_refused(const Case&, const Report&);
// rules_nova.cpp: nova.conf
void old_cpu_model(const Case&, const Report&);
void unknown_cpu_mode(const Case&, const Report&);
void models_without_custom(const Case&, const Report&);
void custom_without_model(const Case&, const Report&);
void ignored_flags(const Case&, const Report&);

}  // namespace cloister::toolstack::lint
