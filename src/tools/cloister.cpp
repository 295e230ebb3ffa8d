// The program `cloister`: reads its command line and calls the toolstack.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <functional>

#include "toolstack/client/client.hpp"
#include "toolstack/toolstack.hpp"

namespace {

using namespace cloister::toolstack;

void add_run(CLI::App& app, RunArguments& arguments) {
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
}

/// What the verbs of cloisterd are given.
struct ClientArguments {
  client::Common common;
  client::CreateArguments create;
  client::TopArguments top;
  std::string domain, new_name;
  bool policy = false, wait = false;
  int port = 8470;
};

using Verb = std::function<int(const ClientArguments&)>;

/// A verb of cloisterd, with what all have; `verb` is run if it was asked for.
class Verbs {
 public:
  Verbs(CLI::App& app, ClientArguments& arguments, Verb& chosen) : app_(app), arguments_(arguments), chosen_(chosen) {}

  CLI::App* add(const char* name, const char* help, Verb verb, bool json = true) {
    CLI::App* command = app_.add_subcommand(name, help);
    if (json) command->add_flag("--json", arguments_.common.json, "print JSON");
    command->callback([this, verb = std::move(verb)] { chosen_ = verb; });
    return command;
  }
  CLI::App* add_for_domain(const char* name, const char* help, Verb verb, bool json = true) {
    CLI::App* command = add(name, help, std::move(verb), json);
    command->add_option("DOMAIN", arguments_.domain, "a domain's name or number")->required();
    return command;
  }

 private:
  CLI::App& app_;
  ClientArguments& arguments_;
  Verb& chosen_;
};

void add_verbs(Verbs& verbs, ClientArguments& a) {
  using A = ClientArguments;
  namespace c = client;
  auto* create = verbs.add("create", "Create a domain from an xl-style file, and start it",
                           [](const A& x) { return c::create(x.common, x.create); });
  create->add_option("FILE", a.create.file, "the domain's configuration; see docs/configuration.md")->required();
  create->add_flag("-p,--paused", a.create.paused, "leave it paused");
  create->add_flag("-c,--console", a.create.console, "attach to its console");
  verbs.add("list", "List the domains", [](const A& x) { return c::list(x.common); });
  verbs.add_for_domain("info", "Show a domain", [](const A& x) { return c::info(x.common, x.domain, x.policy); })
      ->add_flag("--policy", a.policy, "show its CPUID and MSR policy, and what it was made from");
  verbs.add_for_domain(
      "console", "Attach to a domain's console; Ctrl-] detaches",
      [](const A& x) { return c::console(x.common, x.domain); }, false);
  verbs.add_for_domain("dmesg", "Print a domain's console history",
                       [](const A& x) { return c::dmesg(x.common, x.domain); });
  verbs.add_for_domain("pause", "Stop a domain's processors", [](const A& x) { return c::pause(x.common, x.domain); });
  verbs.add_for_domain("unpause", "Let a paused domain run", [](const A& x) { return c::unpause(x.common, x.domain); });
  verbs
      .add_for_domain("shutdown", "Press a domain's power button",
                      [](const A& x) { return c::shutdown(x.common, x.domain, x.wait); })
      ->add_flag("-w,--wait", a.wait, "wait until the domain has ended");
  verbs.add_for_domain("reboot", "Reset a domain", [](const A& x) { return c::reboot(x.common, x.domain); });
  verbs.add_for_domain("destroy", "End a domain at once", [](const A& x) { return c::destroy(x.common, x.domain); });
  verbs
      .add_for_domain("rename", "Give a domain another name",
                      [](const A& x) { return c::rename(x.common, x.domain, x.new_name); })
      ->add_option("NEW-NAME", a.new_name, "its new name")
      ->required();
  verbs.add("sgx-info", "Show the machine's EPC by package", [](const A& x) { return c::sgx_info(x.common); });
  verbs.add("sgx-list", "Show the EPC that each domain has", [](const A& x) { return c::sgx_list(x.common); });
  auto* top = verbs.add(
      "top", "Show domains and EPC, again and again", [](const A& x) { return c::top(x.common, x.top); }, false);
  top->add_option("-d,--delay", a.top.delay_seconds, "seconds between two looks")->check(CLI::Range(0.1, 1e6));
  top->add_option("-n,--iterations", a.top.iterations, "how many looks; 0: until q");
  verbs.add("host", "Show what this machine can do, and why not more", [](const A& x) { return c::host(x.common); });
  verbs
      .add(
          "dashboard", "Serve cloisterd's page on 127.0.0.1 for a browser, until Ctrl-C",
          [](const A& x) { return c::dashboard(x.common, x.port); }, false)
      ->add_option("--port", a.port, "the port; 0: any that is free")
      ->check(CLI::Range(0, 65535))
      ->capture_default_str();
}

int run_program(int argc, char** argv) {
  set_up_messages();
  CLI::App app{"Virtual machines with Intel SGX"};
  app.require_subcommand(1);

  ClientArguments arguments;
  arguments.common.run_folder = client::default_run_folder();
  app.add_option("--run", arguments.common.run_folder, "where cloisterd's socket lies; $CLOISTER_RUN, /run/cloister")
      ->type_name("FOLDER");
  RunArguments run_arguments;
  add_run(app, run_arguments);
  Verb chosen = [&](const ClientArguments&) { return run(run_arguments); };
  Verbs verbs(app, arguments, chosen);
  add_verbs(verbs, arguments);

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : exit_status::bad_configuration;
  }
  return chosen(arguments);
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run_program(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "cloister: %s\n", error.what());
    return exit_status::failed;
  }
}
