// The verbs of domains that are defined: one request each, and one line about what it did.
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "client/api.hpp"
#include "client/client.hpp"
#include "client/configuration.hpp"
#include "client/print.hpp"

namespace cloister::toolstack::client {

int define(const Common& common, const std::string& file) {
  const auto text = read_configuration(file);
  if (!text) return report(text.error());
  const auto name = name_in(*text, file);
  const auto request = name ? request_with(*text, file) : tl::unexpected(name.error());
  if (!request) return report(request.error());
  const auto answer = Api(common.run_folder).put(domain_path(*name), *request);
  if (!answer) return report(answer.error());
  return common.json ? print_json(answer->body) : report_defined(*answer);
}

int undefine(const Common& common, const std::string& domain, bool keys) {
  const auto answer =
      Api(common.run_folder).remove(domain_path(domain, keys ? "/definition?keys=true" : "/definition"));
  if (!answer) return report(answer.error());
  if (common.json) return print_json(*answer);
  spdlog::info("cloister: {} is not defined any more{}", answer->value("name", domain),
               keys ? ", and its keys are erased" : "");
  return 0;
}

int dumpcfg(const Common& common, const std::string& domain) {
  const auto answer = Api(common.run_folder).get(domain_path(domain, "/definition"));
  if (!answer) return report(answer.error());
  return common.json ? print_json(*answer) : print(answer->value("config", ""));
}

int autostart(const Common& common, const std::string& domain, const AutostartArguments& arguments) {
  Json request{{"autostart", arguments.word}};
  if (arguments.order) request["order"] = *arguments.order;
  if (arguments.delay_seconds) request["delay_seconds"] = *arguments.delay_seconds;
  const auto answer = Api(common.run_folder).patch(domain_path(domain), request);
  if (!answer) return report(answer.error());
  if (common.json) return print_json(*answer);
  spdlog::info("cloister: {}: autostart {}, order {}, delay {} s", answer->value("name", domain),
               answer->value("autostart", ""), answer->value("order", u64{0}), answer->value("delay_seconds", u64{0}));
  return 0;
}

}  // namespace cloister::toolstack::client
