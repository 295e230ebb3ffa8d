// What `check` and `baseline` share: the CPU map at hand, policies as operators keep them, and baselines as text.
#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <tl/expected.hpp>

#include "policy/level.hpp"
#include "vmx/backend.hpp"

namespace cloister::toolstack::cpu {

struct MapAtHand {
  policy::CpuMap map;
  std::string note;  ///< why it is not libvirt's; empty: it is
};
/// The map at a path, a folder or a file, that the user named; the error is a line for a person. No path: libvirt's
/// that is installed, or the features that Cloister knows where there is none.
tl::expected<MapAtHand, std::string> map_at_hand(const std::string& path);
/// A line on standard error for each kind of thing in the map that its reader does not know.
void warn_of_unread(const policy::CpuMap& map, const std::string& path);

std::string_view name_of(policy::Known known);

/// What a policy asks for, and where it does so, by name: "FILE:LINE:COLUMN".
struct AskedPolicy {
  policy::Wish wish;
  std::map<std::string, std::string> where;
  std::string note = {};  ///< to be told, a line for a person; may be empty
};
/// `policy` is a file, or names with commas between them. The error is a line for a person.
tl::expected<AskedPolicy, std::string> load_policy(const std::string& policy, const policy::CpuMap& map,
                                                   const vmx::Backend& silicon);
/// A text, recognised by its form; `name` is for messages. Pure.
tl::expected<AskedPolicy, std::string> read_policy(std::string_view text, const std::string& name,
                                                   const policy::CpuMap& map, const vmx::Backend& silicon);

std::string check_text(const policy::HostView& host, const policy::Check& check, const policy::SgxReport& report);
nlohmann::ordered_json check_json(const policy::HostView& host, const policy::Check& check,
                                  const policy::SgxReport& report);

/// Of a pool of more than a few, hosts that are equal in all that counts are one, unless `all` are wanted.
std::string baseline_text(const policy::Baseline& baseline, const policy::CpuMap& map, bool all = false);
nlohmann::ordered_json baseline_json(const policy::Baseline& baseline, const policy::CpuMap& map);
/// The wish in what baseline_json() made; members that it does not need may be missing or others. The error names the
/// member that is wrong.
tl::expected<policy::Wish, std::string> wish_of_json(const nlohmann::json& json);

/// libvirt's <cpu> element, indented for a domain's XML.
std::string cpu_element(const policy::NamedCpu& cpu);
/// Flags of the policy that the map has no word for.
std::vector<std::string> unsaid_flags(const policy::SgxPolicy& sgx, const policy::CpuMap& map);
/// "any, and guests may write it", …
std::string launch_text(const policy::LaunchInCommon& launch);

}  // namespace cloister::toolstack::cpu
