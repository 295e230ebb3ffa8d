// The client's door: the verbs of `cloister` that talk to cloisterd. Each returns the program's exit status; what went
// wrong is one line on standard error.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

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
};

struct TopArguments {
  double delay_seconds = 1;
  unsigned iterations = 0;  ///< 0: until q is pressed, or for ever where the output is no terminal
};

int create(const Common& common, const CreateArguments& arguments);
int list(const Common& common);
int info(const Common& common, const std::string& domain, bool policy);
/// Attaches the terminal to the domain's console until Ctrl-] or the domain's end.
int console(const Common& common, const std::string& domain);
int dmesg(const Common& common, const std::string& domain);
/// `arguments`: those of the row that were given, an object of their members. wait: return when the domain is gone.
int ask(const Common& common, const std::string& domain, const GuestVerbRow& verb,
        const nlohmann::ordered_json& arguments = nlohmann::ordered_json::object(), bool wait = false);
int destroy(const Common& common, const std::string& domain);
int rename(const Common& common, const std::string& domain, const std::string& name);
int sgx_info(const Common& common);
int sgx_list(const Common& common);
int top(const Common& common, const TopArguments& arguments);
int host(const Common& common);
/// Serves cloisterd's page on 127.0.0.1 until SIGINT or SIGTERM; prints its address. port 0: any that is free.
int dashboard(const Common& common, int port);

}  // namespace cloister::toolstack::client
