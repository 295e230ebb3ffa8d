// A reader that has gone away (a pipe to `head`) is a failure without words.
#include "client/print.hpp"

#include <spdlog/spdlog.h>

#include "host/exit_status.hpp"
#include "host/files.hpp"
#include "text/json_text.hpp"
#include "text/shown.hpp"

namespace cloister::toolstack::client {

int report(const Failure& failure) {
  spdlog::error("{}", failure.message);
  return failure.exit_status;
}

void report_warnings(const Json& answer) {
  for (const Json& warning : answer.value("warnings", Json::array()))
    if (warning.is_string()) spdlog::warn("warning: {}", printable(warning.get<std::string>()));
}

int report_defined(const Reply& reply) {
  constexpr int made = 201;
  report_warnings(reply.body);
  spdlog::info("cloister: {} is defined{}", reply.body.value("name", ""), reply.status == made ? "" : " anew");
  return 0;
}

int print(std::string_view text) { return toolstack::print(text) ? 0 : exit_status::failed; }

Json printable_texts(Json json) {
  if (json.is_string()) return printable(json.get_ref<const std::string&>());
  if (json.is_structured()) {
    for (Json& element : json) element = printable_texts(std::move(element));
  }
  return json;
}

int print_json(const Json& json) { return print(json_text(json, 2) + "\n"); }

}  // namespace cloister::toolstack::client
