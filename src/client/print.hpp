// What the client prints: answers on standard output, failures on standard error. Each returns the exit status.
#pragma once

#include <string_view>

#include "client/api.hpp"

namespace cloister::toolstack::client {

int report(const Failure& failure);
/// Those of an answer about a domain's text, a line each.
void report_warnings(const Json& answer);
/// What became of a definition: the answer to PUT.
int report_defined(const Reply& reply);
int print(std::string_view text);
/// An answer for a terminal: what others wrote stands in it without what a terminal would obey.
Json printable_texts(Json json);
int print_json(const Json& json);

}  // namespace cloister::toolstack::client
