// `cloister run FILE`: one domain on a terminal, without a daemon.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "config/config.hpp"
#include "plan/processors.hpp"

namespace cloister::toolstack {

/// What `cloister run` was asked for.
struct RunArguments {
  std::string file;
  std::string backend = "software";   ///< or "qemu"
  Engine engine = Engine::automatic;  ///< in place of the configuration's, if it says one
  std::string machine;  ///< the machine description's file; empty: one package with the EPC that the domain wants
  bool dry_run = false, json = false;
  double timeout_seconds = 0;  ///< 0: none
  std::string gdb_socket;
  std::vector<std::string> trace;  ///< kinds, of trace_kinds()
  std::string trace_file;          ///< empty: NAME.trace
  bool deterministic = false;
  std::string save;     ///< where the domain is saved when the run is ended from outside; empty: it is not
  std::string restore;  ///< the file of a domain that goes on; empty: it starts
  bool stats = false;
};

/// The words that --trace takes.
std::vector<std::string> trace_kinds();

/// Runs the domain whose configuration was read; the exit status. The warnings about it have been shown.
using Runner = std::function<int(const RunArguments& arguments, const DomainConfig& config)>;

/// `cloister run FILE`: reads the configuration, and has `runner` do the rest; the exit status.
int run(const RunArguments& arguments, const Runner& runner);

/// The runner for domains on these processors.
int run_on(const Processors& processors, const RunArguments& arguments, const DomainConfig& config);

}  // namespace cloister::toolstack
