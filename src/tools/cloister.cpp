// The program `cloister`: reads its command line and calls the toolstack.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>

#include "toolstack/toolstack.hpp"

namespace {

int run_program(int argc, char** argv) {
  using namespace cloister::toolstack;
  set_up_messages();

  CLI::App app{"Virtual machines with Intel SGX"};
  app.require_subcommand(1);

  RunArguments arguments;
  CLI::App* command = app.add_subcommand("run", "Run the domain that an xl-style file describes, on this terminal");
  command->add_option("FILE", arguments.file, "the domain's configuration; see docs/configuration.md")->required();
  command->add_option("--machine", arguments.machine, "the machine to run it on; see docs/machine.md")
      ->type_name("FILE");
  auto* dry_run = command->add_flag("-n,--dryrun", arguments.dry_run, "print the domain as it would be built");
  command->add_flag("--json", arguments.json, "print it as JSON")->needs(dry_run);
  command->add_option("--timeout", arguments.timeout_seconds, "end with status 124 after so many seconds")
      ->type_name("SECONDS")
      ->check(CLI::Range(0.001, 1e9));
  command->add_option("--gdb", arguments.gdb_socket, "serve GDB's remote protocol on this Unix socket")
      ->type_name("SOCKET");
  auto* trace = command->add_option("--trace", arguments.trace, "write these kinds of lines to a trace file")
                    ->type_name("KIND,...")
                    ->delimiter(',')
                    ->check(CLI::IsMember(trace_kinds()));
  command->add_option("--trace-file", arguments.trace_file, "the trace file; NAME.trace otherwise")
      ->type_name("FILE")
      ->needs(trace);
  command->add_flag("--deterministic", arguments.deterministic, "time follows the guest's instructions");
  command->add_flag("--stats", arguments.stats, "print the number of guest instructions and their speed at the end");

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : exit_status::bad_configuration;
  }
  return run(arguments);
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run_program(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "cloister: %s\n", error.what());
    return cloister::toolstack::exit_status::failed;
  }
}
