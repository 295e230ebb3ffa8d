// The client's door: the verbs of `cloister` that talk to cloisterd. Each returns the program's exit status; what went
// wrong is one line on standard error.
#pragma once

#include <chrono>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "arch/types.hpp"
#include "verbs/answer_times.hpp"
#include "verbs/guest_verbs.hpp"

namespace cloister::toolstack::client {

/// What every verb is given.
struct Common {
  std::string run_folder;
  bool json = false;  ///< print what cloisterd answered, as JSON, instead of a table
};

struct CreateArguments {
  std::string file;
  bool paused = false, console = false;
  bool persist = false;  ///< it is defined first, and shut off after its end
};

/// When a domain is started with the host, for the members of a request.
struct AutostartArguments {
  std::string word;  ///< on, last or off
  std::optional<u32> order{}, delay_seconds{};
};

struct TopArguments {
  double delay_seconds = 1;
  unsigned iterations = 0;  ///< 0: until q is pressed, or for ever where the output is no terminal
};

int create(const Common& common, const CreateArguments& arguments);
/// What stands in a file is kept, and checked as for create(); start() then needs no file.
int define(const Common& common, const std::string& file);
/// anew: not as it was when the host went down, if it was saved then.
int start(const Common& common, const std::string& domain, bool paused, bool console, bool anew = false);
/// keys: its own are erased.
int undefine(const Common& common, const std::string& domain, bool keys = false);
/// In the user's editor. A text that is wrong leaves the old one, and can be edited again; one that is given up is kept
/// in a file whose name is said.
int edit(const Common& common, const std::string& domain);
/// The text that was defined, byte for byte.
int dumpcfg(const Common& common, const std::string& domain);
int autostart(const Common& common, const std::string& domain, const AutostartArguments& arguments);
/// all: those that are shut off, too.
int list(const Common& common, bool all);
int info(const Common& common, const std::string& domain, bool policy);
/// Attaches the terminal to the domain's console until Ctrl-] or the domain's end.
int console(const Common& common, const std::string& domain);
int dmesg(const Common& common, const std::string& domain);
/// Standard input and output become a connection to this port of the guest's.
int vsock(const Common& common, const std::string& domain, u32 port);
/// By this socket of a domain's somebody in it answers at this port.
bool listens(const std::string& path, u32 port);
/// Becomes OpenSSH's client, with these arguments more; returns if it cannot. domain: [USER@]DOMAIN.
int ssh(const Common& common, const std::string& domain, const std::vector<std::string>& arguments);
/// `arguments`: those of the row that were given, an object of their members. wait: return when the domain is gone.
int ask(const Common& common, const std::string& domain, const GuestVerbRow& verb,
        const nlohmann::ordered_json& arguments = nlohmann::ordered_json::object(), bool wait = false);
int destroy(const Common& common, const std::string& domain);
int rename(const Common& common, const std::string& domain, const std::string& name);
/// Returns when all of it is on the disk, and the domain has ended.
/// enclaves: "keep" or "lose"; empty: as they can.
int save(const Common& common, const std::string& domain, const std::string& file, const std::string& enclaves,
         bool force);
/// Returns when all of it is on the disk; the domain goes on.
int snapshot(const Common& common, const std::string& domain, const std::string& file, bool force);
int restore(const Common& common, const std::string& file, const std::string& enclaves, bool paused, bool console);
struct MigrateArguments {
  std::string target;  ///< unix:PATH, ssh://HOST or tls://HOST:PORT
  bool dry_run = false, cancel = false, resolve = false;
  bool stdio = false;      ///< a target's: by standard input and output
  bool here = false;       ///< of one in doubt: it goes on here, whatever its target has
  std::string enclaves{};  ///< "keep" or "lose"; empty: keep, of one with EPC
  std::optional<u32> downtime_ms{}, bandwidth_mib{};
};
/// Returns when the domain runs there, or goes on here.
int migrate(const Common& common, const std::string& domain, const MigrateArguments& arguments);
/// target: unix:PATH, where one source is waited for; or `stdio`.
int receive(const Common& common, const MigrateArguments& arguments);
/// The keys of domains and of groups, by which user and domain they were used last, and by which they are.
int keys(const Common& common);
int erase_key(const Common& common, const std::string& key);
/// to: "private", of a domain that has the machine's since an earlier version defined it.
int move_keys(const Common& common, const std::string& domain, const std::string& to);
/// Of files from which enclaves have not gone on: the caller's, or of root all.
int tickets(const Common& common);
int erase_ticket(const Common& common, const std::string& ticket);
int sgx_info(const Common& common);
int sgx_list(const Common& common);
/// What each domain has of the EPC and is to have; seconds: between two looks, for rates; 0: one look.
int epc(const Common& common, double seconds);
/// Members of the request as far as they were given: min_mib, weight.
int epc_set(const Common& common, const std::string& domain, const nlohmann::ordered_json& change);
int top(const Common& common, const TopArguments& arguments);
/// key: the machine's public key alone, as another machine's machine.toml has it.
int host(const Common& common, bool key = false);
/// How long a cloisterd is waited for that does not answer, since it may be about to start again: in all times that it
/// is silent together, and at least for each answer, before it counts as silent.
struct HostPatience {
  std::chrono::seconds in_all{60};
  std::chrono::milliseconds an_answer = daemon_answer;
};
/// The host goes down: ends all domains in their order, each by its power button first.
int host_down(const Common& common, const HostPatience& patience = {});
/// The host stays, or is back: forgets what host_down() noted.
int host_up(const Common& common, const HostPatience& patience = {});
/// Serves cloisterd's page on 127.0.0.1 until SIGINT or SIGTERM; prints its address, with the
/// token that opens it. port 0: any that is free.
int dashboard(const Common& common, int port);

}  // namespace cloister::toolstack::client
