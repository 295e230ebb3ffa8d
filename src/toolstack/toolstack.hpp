// The toolstack's door: what the programs' main() functions call.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace cloister::toolstack {

/// Exit statuses of `cloister run`. A run that a signal ended has 128 and the signal's number, one that Ctrl-] ended
/// has that of SIGINT.
namespace exit_status {
inline constexpr int powered_off = 0, failed = 1, bad_configuration = 2, crashed = 3, timed_out = 124, signalled = 128;
}

/// What `cloister run` was asked for.
struct RunArguments {
  std::string file;
  std::string backend = "software";  ///< or "qemu"
  std::string machine;  ///< the machine description's file; empty: one package with the EPC that the domain wants
  bool dry_run = false, json = false;
  double timeout_seconds = 0;  ///< 0: none
  std::string gdb_socket;
  std::vector<std::string> trace;  ///< kinds, of trace_kinds()
  std::string trace_file;          ///< empty: NAME.trace
  bool deterministic = false;
  bool stats = false;
};

/// The words that --trace takes.
std::vector<std::string> trace_kinds();

/// Messages go to standard error, one short line each.
void set_up_messages();

/// `cloister run FILE`; the exit status.
int run(const RunArguments& arguments);

}  // namespace cloister::toolstack
