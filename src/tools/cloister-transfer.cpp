// The program `cloister-transfer`: reads its command line and calls the toolstack.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>

#include "host/daemon_folders.hpp"
#include "host/log.hpp"
#include "tools/options.hpp"
#include "transfer/transfer.hpp"

namespace {

int run_program(int argc, char** argv) {
  using namespace cloister::toolstack;
  set_up_log("cloister-transfer");
  std::string run = default_daemon_run(), address;
  CLI::App app{"Carries domains between machines over TLS; cloisterd and systemd start it"};
  app.add_option("--run", run, "cloisterd's folder of sockets")->type_name("DIR")->capture_default_str();
  app.require_subcommand(1);
  auto* reach = app.add_subcommand("reach", "connect as cloisterd says, on descriptor 0");
  bool stays = false;
  reach->add_flag("--stay", stays, "in this process, as a service does");
  auto* serve = app.add_subcommand("serve", "take one domain, of who is connected to descriptor 0");
  auto* listen = app.add_subcommand("listen", "take domains of those that connect");
  listen->add_option("HOST:PORT", address, "where")->required();
  cloister::tools::add_version(app, "cloister-transfer");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return cloister::tools::answer(app, error);
  }
  if (reach->parsed()) return run_transfer_reach(stays);
  return serve->parsed() ? run_transfer_serve(run) : run_transfer_listen(run, address);
}

}  // namespace

int main(int argc, char** argv) { return cloister::tools::run_main("cloister-transfer", run_program, argc, argv); }
