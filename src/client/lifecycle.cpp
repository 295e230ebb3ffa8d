// The verbs that change a domain: one request each, and one line about what it did.
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>

#include "client/api.hpp"
#include "client/client.hpp"
#include "client/configuration.hpp"
#include "client/print.hpp"

namespace cloister::toolstack::client {
namespace {

/// By the number that the answer says: `domain` is what its user calls it, and whoever renames it calls it otherwise.
int wait_for_end(const Common& common, const std::string& domain, u64 id) {
  constexpr useconds_t interval = 100'000;
  const Api api(common.run_folder);
  while (true) {
    ::usleep(interval);
    const auto domains = api.get("/v1/domains");
    if (!domains) return report(domains.error());
    const auto same = [&](const Json& d) { return d.value("id", u64{0}) == id; };
    if (std::none_of(domains->begin(), domains->end(), same)) break;
  }
  if (!common.json) spdlog::info("cloister: {} has ended", domain);
  return 0;
}

/// attach: to its console, after what is to be said.
int show_started(const Common& common, const Json& domain, const char* done, bool attach) {
  const std::string id = std::to_string(domain.value("id", u64{0}));
  if (common.json) {
    if (const int status = print_json(domain); status != 0) return status;
  } else {
    report_warnings(domain);
    spdlog::info("cloister: {} {}, domain {}", done, domain.value("name", ""), id);
    if (const std::string why = domain.value("placement", ""); !why.empty()) spdlog::info("cloister: EPC: {}", why);
  }
  return attach ? console(common, id) : 0;
}

}  // namespace

int create(const Common& common, const CreateArguments& arguments) {
  const auto text = read_configuration(arguments.file);
  auto request = text ? request_with(*text, arguments.file) : tl::unexpected(text.error());
  if (!request) return report(request.error());
  (*request)["paused"] = arguments.paused;
  if (arguments.persist) (*request)["persist"] = true;
  const auto answer = Api(common.run_folder).post("/v1/domains", *request);
  if (!answer) return report(answer.error());
  return show_started(common, *answer, arguments.persist ? "defined and started" : "created", arguments.console);
}

int start(const Common& common, const std::string& domain, bool paused, bool attach, bool anew) {
  Json request{{"paused", paused}};
  if (anew) request["anew"] = true;
  // It may go on from a file, all of which is read.
  const auto answer = Api(common.run_folder, std::chrono::hours(1)).post(domain_path(domain, "/start"), request);
  if (!answer) return report(answer.error());
  const char* const how = answer->contains("enclaves") ? "goes on as it was when the host went down" : "started";
  return show_started(common, *answer, how, attach);
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
  return wait ? wait_for_end(common, domain, answer->value("id", u64{0})) : 0;
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
