// The verbs that change a domain: one request each, and one line about what it did.
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <span>

#include "client/api.hpp"
#include "client/client.hpp"
#include "client/print.hpp"
#include "host/exit_status.hpp"
#include "host/whole_file.hpp"
#include "text/utf8.hpp"

namespace cloister::toolstack::client {
namespace {

int wait_for_end(const Common& common, const std::string& domain) {
  constexpr useconds_t interval = 100'000;
  const Api api(common.run_folder);
  while (true) {
    ::usleep(interval);
    const auto domains = api.get("/v1/domains");
    if (!domains) return report(domains.error());
    const auto same = [&](const Json& d) {
      return d.value("name", "") == domain || std::to_string(d.value("id", u64{0})) == domain;
    };
    if (std::none_of(domains->begin(), domains->end(), same)) break;
  }
  if (!common.json) spdlog::info("cloister: {} has ended", domain);
  return 0;
}

}  // namespace

int create(const Common& common, const CreateArguments& arguments) {
  const auto text = read_within(arguments.file, longest_config);
  if (!text) {
    spdlog::error("{}: cannot read: {}", arguments.file, text.error());
    return exit_status::bad_configuration;
  }
  // JSON can hold no other bytes, and a path in them would be another one.
  if (const std::size_t at = find_invalid_utf8({reinterpret_cast<const char*>(text->data()), text->size()});
      at != std::string_view::npos) {
    const auto before = std::span(*text).first(at);
    const auto line = std::ranges::count(before, u8{'\n'}) + 1;
    const auto column =
        std::distance(std::ranges::find(before.rbegin(), before.rend(), u8{'\n'}).base(), before.end()) + 1;
    spdlog::error("{}:{}:{}: byte {:#04x}: expected UTF-8", arguments.file, line, column, (*text)[at]);
    return exit_status::bad_configuration;
  }
  const std::string directory = std::filesystem::current_path().string();
  if (find_invalid_utf8(directory) != std::string::npos) {
    spdlog::error("cloister: the name of this folder, '{}', is not UTF-8", valid_utf8(directory));
    return exit_status::bad_configuration;
  }
  Json request;
  request["config"] = std::string(text->begin(), text->end());
  request["file"] = arguments.file;
  request["directory"] = directory;
  request["paused"] = arguments.paused;
  const auto answer = Api(common.run_folder).post("/v1/domains", request);
  if (!answer) return report(answer.error());
  if (common.json) {
    if (const int status = print_json(*answer); status != 0) return status;
  } else {
    spdlog::info("cloister: created {}, domain {}", answer->value("name", ""), answer->value("id", u64{0}));
    if (const std::string why = answer->value("placement", ""); !why.empty()) spdlog::info("cloister: EPC: {}", why);
  }
  return arguments.console ? console(common, std::to_string(answer->value("id", u64{0}))) : 0;
}

int ask(const Common& common, const std::string& domain, const GuestVerbRow& verb, const Json& arguments, bool wait) {
  const Json body = verb.arguments.empty() ? Json() : arguments;
  const auto answer = Api(common.run_folder).post(domain_path(domain, std::string("/") + verb.word), body);
  if (!answer) return report(answer.error());
  if (common.json) {
    if (const int status = print_json(*answer); status != 0) return status;
  } else {
    spdlog::info("cloister: {} {}", answer->value("name", domain), verb.done);
  }
  return wait ? wait_for_end(common, domain) : 0;
}

int destroy(const Common& common, const std::string& domain) {
  const auto answer = Api(common.run_folder).remove(domain_path(domain));
  if (!answer) return report(answer.error());
  if (common.json) return print_json(*answer);
  spdlog::info("cloister: {} is destroyed", answer->value("name", domain));
  return 0;
}

int rename(const Common& common, const std::string& domain, const std::string& name) {
  const auto answer = Api(common.run_folder).patch(domain_path(domain), Json{{"name", name}});
  if (!answer) return report(answer.error());
  if (common.json) return print_json(*answer);
  spdlog::info("cloister: {} is now {}", domain, answer->value("name", name));
  return 0;
}

}  // namespace cloister::toolstack::client
