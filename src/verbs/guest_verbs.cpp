// Words are checked against the table; what a number may be depends on the domain, so its VMM looks.
#include "verbs/guest_verbs.hpp"

#include <algorithm>

#include "text/alternatives.hpp"

namespace cloister::toolstack {

const GuestVerbRow* find_guest_verb(std::string_view word) {
  const auto row = std::ranges::find(guest_verbs, word, &GuestVerbRow::word);
  return row == std::end(guest_verbs) ? nullptr : row;
}

nlohmann::json read_arguments(const GuestVerbRow& row, JsonFields& fields) {
  nlohmann::json arguments = nlohmann::json::object();
  for (const VerbArgument& argument : row.arguments) {
    if (argument.words.empty()) {
      u32 number = argument.fallback.value_or(0);
      if (!argument.fallback || fields.has(argument.member)) fields.number(argument.member, number);
      arguments[argument.member] = number;
    } else {
      std::string word;
      fields.text(argument.member, word);
      if (std::ranges::find(argument.words, word) == argument.words.end())
        fields.fail(std::string("'") + argument.member + "': expected " + alternatives(argument.words));
      arguments[argument.member] = word;
    }
  }
  return arguments;
}

}  // namespace cloister::toolstack
