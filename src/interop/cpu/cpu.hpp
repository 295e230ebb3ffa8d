// The door of `cloister cpu`: each verb returns the program's exit status, prints its answer on standard output, and
// what went wrong as one line on standard error. None needs the daemon.
#pragma once

#include <string>
#include <vector>

#include "vmx/backend.hpp"

namespace cloister::toolstack::cpu {

/// Exit statuses beside exit_status::bad_configuration (2) for input that cannot be used.
namespace status {
inline constexpr int good = 0;     ///< usable; nothing lacks; nothing found
inline constexpr int failed = 1;   ///< not usable; something lacks; findings
inline constexpr int unknown = 3;  ///< what was read does not tell
}  // namespace status

/// host: a file, or empty for this host.
int probe(const std::string& host, bool json);
/// what: a feature's name in any tool's spelling, or a bit: "7.0.ebx[2]", "0x12.1.eax[4]".
int explain(const std::string& what, bool json);
/// policy: names with commas between them, or a file that says them: a configuration, libvirt's XML, nova.conf, QEMU's
/// argv, or the JSON of `baseline`.
/// libvirt, here and below: the path of a map of CPUs to judge by; empty: the installed one's.
int check(const std::string& host, const std::string& policy, bool json, const std::string& libvirt,
          const vmx::Backend& silicon);
/// all: each host for itself, however many there are.
int baseline(const std::vector<std::string>& hosts, bool json, bool all, const std::string& libvirt);
/// folder: libvirt's cpu_map, a folder or a file of features.
int map(const std::string& folder, bool json);

struct RenderArguments {
  std::string target;  ///< libvirt, qemu, nova, xl, cloister
  std::string file;    ///< a configuration, or libvirt's XML
  bool lossy = false;
  std::string libvirt = {};  ///< whose words libvirt's and Nova's settings are to be held against; empty: libvirt 9.0's
};
int render(const RenderArguments& arguments, const vmx::Backend& silicon);
/// file: libvirt's XML, nova.conf, or QEMU's argv. host: what `locked` and `permission` rules are judged by; empty:
/// this host if it has SGX.
int lint(const std::string& file, const std::string& host, bool json, const std::string& libvirt);

}  // namespace cloister::toolstack::cpu
