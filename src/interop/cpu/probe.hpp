// What `cloister cpu probe` prints of a host.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "policy/host_view.hpp"

namespace cloister::toolstack::cpu {

/// For a person: the verdict, what there is, and why not more with what to do.
std::string probe_text(const policy::HostView& host, const policy::SgxReport& report);
/// For programs: the same and more. What is unknown is null.
nlohmann::ordered_json probe_json(const policy::HostView& host, const policy::SgxReport& report);
/// Of cpu.hpp's.
int probe_status(const policy::SgxReport& report);

}  // namespace cloister::toolstack::cpu
