// The program `cloisterd`: reads its command line and calls the toolstack.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <string_view>

#include "daemon/daemon.hpp"
#include "daemon/opener.hpp"
#include "host/log.hpp"
#include "tools/options.hpp"
#include "tools/processors.hpp"

namespace {

int run_program(int argc, char** argv) {
  using namespace cloister::toolstack;
  // The daemon starts itself with this word (daemon/opener.hpp): nobody else has a use for it.
  if (argc == 2 && std::string_view(argv[1]) == opener_word) return run_opener();
  set_up_log("cloisterd");
  DaemonArguments arguments;
  CLI::App app{"Broker of the machine's EPC and registry of its domains"};
  app.add_option("--state", arguments.state, "folder of what outlives the machine's power")
      ->type_name("DIR")
      ->capture_default_str();
  app.add_option("--run", arguments.run, "folder of sockets and locks")->type_name("DIR")->capture_default_str();
  app.add_option("--machine", arguments.machine, "the machine's description; see docs/machine.md")->type_name("FILE");
  app.add_option("--vmm", arguments.vmm, "the program cloister-vmm")->type_name("FILE");
  app.add_option("--cgroup", arguments.cgroup,
                 "the control group (v2) below which each domain gets one: a folder, none, or auto: cloister.slice")
      ->type_name("DIR")
      ->capture_default_str();
  app.add_option("--migrate-listen", arguments.migrate_listen,
                 "where other machines bring domains over TLS; without it nowhere")
      ->type_name("HOST:PORT");
  app.add_flag("--new-secret", arguments.anew.secrets, "make the secret anew that is lost");
  app.add_flag("--new-machine-key", arguments.anew.machine_key,
               "make the machine's key anew that is lost: other machines then know this one no more");
  bool check = false;
  app.add_flag("--check", check, "read all that a start would, say what was found, and change nothing");
  cloister::tools::add_version(app, "cloisterd");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return cloister::tools::answer(app, error);
  }
  const Processors processors = cloister::tools::processors();
  return check ? check_daemon(arguments, processors) : run_daemon(arguments, processors);
}

}  // namespace

int main(int argc, char** argv) { return cloister::tools::run_main("cloisterd", run_program, argc, argv); }
