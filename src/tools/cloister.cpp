// The program `cloister`: reads its command line and calls the toolstack.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <functional>
#include <limits>

#include "client/client.hpp"
#include "host/daemon_folders.hpp"
#include "host/exit_status.hpp"
#include "interop/qemu/qemu_backend.hpp"
#include "run/messages.hpp"
#include "run/run.hpp"
#include "silicon/backend.hpp"
#include "tools/cpu_verbs.hpp"
#include "tools/image_verbs.hpp"
#include "tools/options.hpp"
#include "tools/processors.hpp"
#include "verbs/start_delay.hpp"

namespace {

using namespace cloister;
using namespace cloister::toolstack;

void add_run(CLI::App& app, RunArguments& arguments) {
  CLI::App* command = app.add_subcommand("run", "Run the domain that an xl-style file describes, on this terminal");
  command->add_option("FILE", arguments.file, "the domain's configuration; see docs/configuration.md")->required();
  command->add_option("--backend", arguments.backend, "software, or QEMU on this machine's SGX; docs/qemu-backend.md")
      ->type_name("BACKEND")
      ->check(CLI::IsMember({"software", "qemu"}))
      ->capture_default_str();
  command
      ->add_option_function<std::string>(
          "--engine", [&arguments](const std::string& word) { arguments.engine = *read_engine(word); },
          "what runs the guest's code, in place of the configuration's `engine`")
      ->type_name("ENGINE")
      ->check(CLI::IsMember(std::vector<std::string>(engine_words.begin(), engine_words.end())))
      ->default_str(std::string(name_of(Engine::automatic)));
  command->add_option("--machine", arguments.machine, "the machine to run it on; see docs/machine.md")
      ->type_name("FILE");
  auto* dry_run = command->add_flag("-n,--dryrun", arguments.dry_run, "print the domain as it would be built");
  command->add_flag("--json", arguments.json, "print it as JSON")->needs(dry_run);
  command->add_option("--timeout", arguments.timeout_seconds, "end with status 124 after so many seconds")
      ->type_name("SECONDS")
      ->check(cloister::tools::seconds_between(0.001, 1e9));
  command->add_option("--gdb", arguments.gdb_socket, "serve GDB's remote protocol on this Unix socket")
      ->type_name("SOCKET");
  auto* trace = command->add_option("--trace", arguments.trace, "write these kinds of lines to a trace file")
                    ->type_name("KIND,...")
                    ->delimiter(',')
                    ->allow_extra_args(false)
                    ->check(CLI::IsMember(trace_kinds()));
  command->add_option("--trace-file", arguments.trace_file, "the trace file; NAME.trace otherwise")
      ->type_name("FILE")
      ->needs(trace);
  command
      ->add_option("--save", arguments.save,
                   "save the domain in this new file when Ctrl-], a signal or the timeout ends the run")
      ->type_name("FILE")
      ->check(cloister::tools::file_name())
      ->excludes(dry_run);
  command->add_option("--restore", arguments.restore, "let the domain go on that was saved in this file")
      ->type_name("FILE")
      ->check(cloister::tools::file_name())
      ->excludes(dry_run);
  command->add_flag("--deterministic", arguments.deterministic, "time follows the guest's instructions");
  command->add_flag("--stats", arguments.stats,
                    "at the end: guest instructions, their speed and their engine; with EPC, counts of SGX events");
}

/// What the verbs of cloisterd are given.
struct ClientArguments {
  client::Common common;
  client::CreateArguments create;
  client::TopArguments top;
  client::AutostartArguments autostart;
  client::MigrateArguments migrate;
  std::string domain, new_name, key, saved, enclaves;
  std::vector<std::string> words;                                     ///< of another program's
  nlohmann::ordered_json members = nlohmann::ordered_json::object();  ///< of a GuestVerbRow, as far as they were given
  bool policy = false, wait = false, all = false, keys = false, machine_key = false, anew = false, force = false;
  int port = 8470;
  u32 guest_port = 0;
  double rate_seconds = 0;
};

using Verb = std::function<int(const ClientArguments&)>;

/// A verb of cloisterd, with what all have; `verb` is run if it was asked for.
class Verbs {
 public:
  Verbs(CLI::App& app, ClientArguments& arguments, Verb& chosen) : app_(app), arguments_(arguments), chosen_(chosen) {}

  CLI::App* add(const char* name, const char* help, Verb verb, bool json = true) {
    return add_below(app_, name, help, std::move(verb), json);
  }
  CLI::App* add_for_domain(const char* name, const char* help, Verb verb, bool json = true) {
    return with_domain(add(name, help, std::move(verb), json));
  }
  /// Of a verb that does something by itself, too.
  CLI::App* add_below(CLI::App& above, const char* name, const char* help, Verb verb, bool json = true) {
    CLI::App* command = above.add_subcommand(name, help);
    if (json) command->add_flag("--json", arguments_.common.json, "print JSON");
    command->callback([this, command, verb = std::move(verb)] {
      if (command->get_subcommands().empty()) chosen_ = verb;
    });
    return command;
  }
  CLI::App* with_domain(CLI::App* command) {
    command->add_option("DOMAIN", arguments_.domain, "a domain's name, number or uuid")
        ->required()
        ->check(cloister::tools::not_nothing("a domain"));
    return command;
  }

 private:
  CLI::App& app_;
  ClientArguments& arguments_;
  Verb& chosen_;
};

void add_guest_verb(Verbs& verbs, const GuestVerbRow& row, ClientArguments& a) {
  CLI::App* command = verbs.add_for_domain(row.word, row.help, [&row](const ClientArguments& x) {
    return client::ask(x.common, x.domain, row, x.members, x.wait);
  });
  for (const VerbArgument& argument : row.arguments) {
    const auto set = [&a, &argument](const auto& value) { a.members[argument.member] = value; };
    if (argument.words.empty()) {
      CLI::Option* const number = command->add_option_function<u32>(argument.shown, set, argument.help)
                                      ->transform(cloister::tools::whole_number_to(std::numeric_limits<u32>::max()));
      if (argument.fallback) {
        number->default_str(std::to_string(*argument.fallback));
      } else {
        number->required();
      }
    } else {
      command->add_option_function<std::string>(argument.shown, set, argument.help)
          ->required()
          ->check(CLI::IsMember(std::vector<std::string>(argument.words.begin(), argument.words.end())));
    }
  }
  if (row.ends) command->add_flag("-w,--wait", a.wait, "wait until the domain has ended");
}

/// Domains that are defined, and the host's going down and coming up, for which they are.
void add_enclaves(CLI::App& command, ClientArguments& a) {
  command
      .add_option("--enclaves", a.enclaves, "what becomes of its enclaves; without it they are kept where they can be")
      ->check(CLI::IsMember({"keep", "lose"}));
}

void add_definition_verbs(Verbs& verbs, ClientArguments& a) {
  using A = ClientArguments;
  namespace c = client;
  verbs
      .add("define", "Keep a domain's configuration, to start it by its name",
           [](const A& x) { return c::define(x.common, x.create.file); })
      ->add_option("FILE", a.create.file, "the domain's configuration; see docs/configuration.md")
      ->required();
  auto* start = verbs.add_for_domain("start", "Start a domain that is defined", [](const A& x) {
    return c::start(x.common, x.domain, x.create.paused, x.create.console, x.anew);
  });
  start->add_flag("--anew", a.anew, "not as it was when the host went down, if it was saved then: that is given up");
  start->add_flag("-p,--paused", a.create.paused, "leave it paused");
  start->add_flag("-c,--console", a.create.console, "attach to its console");
  verbs
      .add_for_domain("undefine", "Forget a domain that is shut off",
                      [](const A& x) { return c::undefine(x.common, x.domain, x.keys); })
      ->add_flag("--keys", a.keys, "erase its own keys, too: what its enclaves have sealed is lost");
  verbs.add_for_domain("edit", "Change a domain's configuration in $VISUAL or $EDITOR",
                       [](const A& x) { return c::edit(x.common, x.domain); });
  verbs.add_for_domain("dumpcfg", "Print a domain's configuration, byte for byte",
                       [](const A& x) { return c::dumpcfg(x.common, x.domain); });
  auto* autostart = verbs.add_for_domain("autostart", "Say whether a domain is started with the host",
                                         [](const A& x) { return c::autostart(x.common, x.domain, x.autostart); });
  autostart->add_option("WHEN", a.autostart.word, "on: always; last: if it ran when the host went down; off: never")
      ->required()
      ->check(CLI::IsMember({"on", "last", "off"}));
  autostart->add_option("--order", a.autostart.order, "the lowest is started first, and ended last")
      ->type_name("NUMBER")
      ->transform(cloister::tools::whole_number_to(std::numeric_limits<u32>::max()));
  autostart
      ->add_option("--delay", a.autostart.delay_seconds, "from its start to that of its user's next one, 3600 at most")
      ->type_name("SECONDS")
      ->transform(cloister::tools::whole_number_to(longest_start_delay));
  verbs.add(
      "host-down", "End all domains in their order, for a host that goes down",
      [](const A& x) { return c::host_down(x.common); }, false);
  verbs.add(
      "host-up", "Forget what host-down noted", [](const A& x) { return c::host_up(x.common); }, false);
}

void add_move_verbs(Verbs& verbs, ClientArguments& a) {
  using A = ClientArguments;
  namespace c = client;
  auto* migrate = verbs.add_for_domain("migrate", "Let a domain go on at another daemon",
                                       [](const A& x) { return c::migrate(x.common, x.domain, x.migrate); });
  migrate->add_option("TARGET", a.migrate.target,
                      "unix:PATH, where `cloister receive` waits, ssh://[USER@]HOST[:PORT], or tls://HOST:PORT");
  migrate
      ->add_option("--enclaves", a.migrate.enclaves,
                   "keep: they go on there, at a machine that machine.toml names, which is what happens without "
                   "this; lose: they are lost")
      ->check(CLI::IsMember({"keep", "lose"}));
  migrate->add_flag("--dry-run", a.migrate.dry_run, "only ask whether it could run there, and why not");
  migrate->add_flag("--cancel", a.migrate.cancel, "let a domain that is on its way go on here");
  migrate->add_flag("--resolve", a.migrate.resolve, "of one in doubt: ask its target whether it runs there");
  migrate->add_flag("--here", a.migrate.here, "with --resolve: ask nobody; what its target has must be lost for ever");
  const auto set = [](std::optional<u32>& to) { return [&to](const u32& value) { to = value; }; };
  migrate
      ->add_option_function<u32>("--downtime", set(a.migrate.downtime_ms),
                                 "that it may stand still; 300 if it is not said")
      ->type_name("MILLISECONDS")
      ->transform(cloister::tools::whole_number_to(3'600'000));
  migrate
      ->add_option_function<u32>("--bandwidth", set(a.migrate.bandwidth_mib), "at most so much a second, while it runs")
      ->type_name("MIB")
      ->transform(cloister::tools::whole_number(1, 1 << 20));
  auto* receive = verbs.add(
      "receive", "Take a domain that `cloister migrate` brings",
      [](const A& x) { return c::receive(x.common, x.migrate); }, false);
  auto* stdio = receive->add_flag("--stdio", a.migrate.stdio,
                                  "by standard input and output, as `cloister migrate` has ssh run it");
  receive->add_option("FROM", a.migrate.target, "unix:PATH, a socket that is made for one source")->excludes(stdio);
}

void add_key_verbs(Verbs& verbs, ClientArguments& a) {
  using A = ClientArguments;
  namespace c = client;
  CLI::App* keys = verbs.add("keys", "Show the keys of domains and of groups, and who uses them",
                             [](const A& x) { return c::keys(x.common); });
  keys->require_subcommand(0, 1);
  verbs
      .add_below(*keys, "erase", "Erase a key that no domain uses: what was sealed with it is lost",
                 [](const A& x) { return c::erase_key(x.common, x.key); })
      ->add_option("KEY", a.key, "a key's UUID, or group:NAME")
      ->required()
      ->check(cloister::tools::not_nothing("a key"));
  verbs
      .with_domain(verbs.add_below(*keys, "move", "Give a domain that has the machine's keys its own",
                                   [](const A& x) { return c::move_keys(x.common, x.domain, x.key); }))
      ->add_option("TO", a.key, "whose keys it has from its next start on")
      ->required()
      ->check(CLI::IsMember({"private"}));
}

void add_ticket_verbs(Verbs& verbs, ClientArguments& a) {
  using A = ClientArguments;
  namespace c = client;
  CLI::App* tickets = verbs.add("tickets", "Show the tickets of files from which enclaves can go on",
                                [](const A& x) { return c::tickets(x.common); });
  tickets->require_subcommand(0, 1);
  verbs
      .add_below(*tickets, "erase", "Erase a ticket: what its file has goes on without its enclaves",
                 [](const A& x) { return c::erase_ticket(x.common, x.key); })
      ->add_option("TICKET", a.key, "a ticket, as `cloister tickets` shows it")
      ->required()
      ->check(cloister::tools::not_nothing("a ticket"));
}

void add_verbs(Verbs& verbs, ClientArguments& a) {
  using A = ClientArguments;
  namespace c = client;
  auto* create = verbs.add("create", "Create a domain from an xl-style file, and start it",
                           [](const A& x) { return c::create(x.common, x.create); });
  create->add_option("FILE", a.create.file, "the domain's configuration; see docs/configuration.md")->required();
  create->add_flag("-p,--paused", a.create.paused, "leave it paused");
  create->add_flag("-c,--console", a.create.console, "attach to its console");
  create->add_flag("--persist", a.create.persist, "define it first: it is shut off after its end");
  verbs.add("list", "List the domains", [](const A& x) { return c::list(x.common, x.all); })
      ->add_flag("--all", a.all, "those that are shut off, too");
  verbs.add_for_domain("info", "Show a domain", [](const A& x) { return c::info(x.common, x.domain, x.policy); })
      ->add_flag("--policy", a.policy, "show its CPUID and MSR policy, and what it was made from");
  verbs.add_for_domain(
      "console", "Attach to a domain's console; Ctrl-] detaches",
      [](const A& x) { return c::console(x.common, x.domain); }, false);
  verbs
      .add_for_domain(
          "vsock", "Connect standard input and output to a port of a guest's vsock",
          [](const A& x) { return c::vsock(x.common, x.domain, x.guest_port); }, false)
      ->add_option("PORT", a.guest_port, "at which a program of the guest's listens")
      ->required()
      ->transform(cloister::tools::whole_number_to(std::numeric_limits<u32>::max()));
  auto* ssh = verbs.add(
      "ssh", "Log in to a guest by SSH: by its vsock, or by a port of this host's that leads to it",
      [](const A& x) { return c::ssh(x.common, x.domain, x.words); }, false);
  ssh->add_option("DOMAIN", a.domain, "[USER@] and a domain's name, number or uuid; root, if no user is named")
      ->required()
      ->check(cloister::tools::not_nothing("a domain"));
  ssh->prefix_command()->parse_complete_callback([ssh, &a] { a.words = ssh->remaining(); });
  verbs.add_for_domain("dmesg", "Print a domain's console history",
                       [](const A& x) { return c::dmesg(x.common, x.domain); });
  for (const GuestVerbRow& row : guest_verbs) add_guest_verb(verbs, row, a);
  verbs.add_for_domain("destroy", "End a domain at once", [](const A& x) { return c::destroy(x.common, x.domain); });
  verbs
      .add_for_domain("rename", "Give a domain another name",
                      [](const A& x) { return c::rename(x.common, x.domain, x.new_name); })
      ->add_option("NEW-NAME", a.new_name, "its new name")
      ->required();
  auto* save = verbs.add_for_domain("save", "Save a domain in a file; then it ends", [](const A& x) {
    return c::save(x.common, x.domain, x.saved, x.enclaves, x.force);
  });
  cloister::tools::add_saved_file(*save, a.saved, a.force);
  add_enclaves(*save, a);
  auto* snapshot =
      verbs.add_for_domain("snapshot", "Save a domain in a file without its enclaves; then it goes on, with them",
                           [](const A& x) { return c::snapshot(x.common, x.domain, x.saved, x.force); });
  cloister::tools::add_saved_file(*snapshot, a.saved, a.force);
  auto* restore = verbs.add("restore", "Let a domain go on that was saved", [](const A& x) {
    return c::restore(x.common, x.saved, x.enclaves, x.create.paused, x.create.console);
  });
  restore->add_option("FILE", a.saved, "the file that it was saved in, or that is a snapshot of it")->required();
  restore->add_flag("-p,--paused", a.create.paused, "leave it paused");
  restore->add_flag("-c,--console", a.create.console, "attach to its console");
  add_enclaves(*restore, a);
  verbs.add("sgx-info", "Show the machine's EPC by package", [](const A& x) { return c::sgx_info(x.common); });
  verbs.add("sgx-list", "Show the EPC that each domain has", [](const A& x) { return c::sgx_list(x.common); });
  verbs
      .add("epc", "Show who has how much EPC, and who is to have how much",
           [](const A& x) { return c::epc(x.common, x.rate_seconds); })
      ->add_option("--rate", a.rate_seconds, "look twice, so many seconds apart, and show loads and evictions a second")
      ->type_name("SECONDS")
      ->check(cloister::tools::seconds_between(0.1, 1e6));
  auto* epc_set = verbs.add_for_domain("epc-set", "Change how a domain that runs shares EPC",
                                       [](const A& x) { return c::epc_set(x.common, x.domain, x.members); });
  const auto set_member = [&a](const char* member) {
    return [&a, member](const u32& value) { a.members[member] = value; };
  };
  epc_set->add_option_function<u32>("--min", set_member("min_mib"), "what it always has, as the key epc_min")
      ->type_name("MIB")
      ->transform(cloister::tools::whole_number(1, std::numeric_limits<u32>::max()));
  epc_set->add_option_function<u32>("--weight", set_member("weight"), "as the key epc_weight")
      ->type_name("NUMBER")
      ->transform(cloister::tools::whole_number(1, cloister::toolstack::limits::heaviest_epc));
  auto* top = verbs.add(
      "top", "Show domains and EPC, again and again", [](const A& x) { return c::top(x.common, x.top); }, false);
  top->add_option("-d,--delay", a.top.delay_seconds, "seconds between two looks")
      ->type_name("SECONDS")
      ->check(cloister::tools::seconds_between(0.1, 1e6));
  top->add_option("-n,--iterations", a.top.iterations, "how many looks; 0: until q")
      ->transform(cloister::tools::whole_number_to(std::numeric_limits<u32>::max()));
  verbs
      .add("host", "Show what this machine can do, and why not more",
           [](const A& x) { return c::host(x.common, x.machine_key); })
      ->add_flag("--key", a.machine_key, "only the key by which other machines know this one");
  verbs
      .add(
          "dashboard", "Serve cloisterd's page on 127.0.0.1 for a browser, until Ctrl-C",
          [](const A& x) { return c::dashboard(x.common, x.port); }, false)
      ->add_option("--port", a.port, "the port; 0: any that is free")
      ->transform(cloister::tools::whole_number_to(65535))
      ->capture_default_str();
}

/// What runs the domain: the software silicon, or QEMU on the machine's own.
Runner runner_of(const RunArguments& arguments) {
  if (arguments.backend == "qemu") {
    return [](const RunArguments& a, const DomainConfig& config) { return run_on_qemu(a, config, silicon::backend()); };
  }
  return [](const RunArguments& a, const DomainConfig& config) { return run_on(tools::processors(), a, config); };
}

int run_program(int argc, char** argv) {
  set_up_messages();
  CLI::App app{"Virtual machines with Intel SGX"};
  app.require_subcommand(1);
  cloister::tools::add_version(app, "cloister");

  ClientArguments arguments;
  arguments.common.run_folder = find_daemon_run();
  app.add_option("--run", arguments.common.run_folder,
                 "where cloisterd's socket lies; $CLOISTER_RUN, else your own cloisterd's, else /run/cloister")
      ->type_name("FOLDER");
  RunArguments run_arguments;
  add_run(app, run_arguments);
  Verb chosen = [&](const ClientArguments&) { return run(run_arguments, runner_of(run_arguments)); };
  Verbs verbs(app, arguments, chosen);
  add_verbs(verbs, arguments);
  add_definition_verbs(verbs, arguments);
  add_key_verbs(verbs, arguments);
  add_ticket_verbs(verbs, arguments);
  add_move_verbs(verbs, arguments);
  cloister::tools::CpuArguments cpu_arguments;
  client::ImageArguments image_arguments;
  std::function<int()> other_verb;  // that needs no daemon
  cloister::tools::add_cpu(app, cpu_arguments, other_verb);
  cloister::tools::add_image(app, image_arguments, other_verb);

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return cloister::tools::answer(app, error);
  }
  return other_verb ? other_verb() : chosen(arguments);
}

}  // namespace

int main(int argc, char** argv) { return cloister::tools::run_main("cloister", run_program, argc, argv); }
