// What can be asked of a domain's guest. A row is a route of the REST API, a verb of the control protocol and a
// subcommand of `cloister`: all of them walk this table. docs/openapi.json and cloister(1) are held against it by
// tests. What a verb does stands in vmm/lifecycle.cpp.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string_view>

#include "arch/types.hpp"
#include "text/json_fields.hpp"

namespace cloister::toolstack {

/// What stands after a verb: a member of the request's JSON, and a word after DOMAIN on the command line.
struct VerbArgument {
  const char* member;
  const char* shown;  ///< on the command line
  const char* help;
  /// One of these, and it must be there; none: a number.
  std::span<const std::string_view> words{};
  std::optional<u32> fallback = std::nullopt;  ///< a number's that is missing; none: it must be there
};

enum class GuestVerb : u8 { pause, unpause, shutdown, reboot, trigger, wake, epc_target };

inline constexpr std::string_view triggers[] = {"nmi"};  // of xl's
inline constexpr VerbArgument trigger_arguments[] = {{"trigger", "TRIGGER", "nmi: a non-maskable interrupt", triggers},
                                                     {"vcpu", "VCPU", "the processor that gets it", {}, 0}};
inline constexpr VerbArgument epc_target_arguments[] = {{"mib", "MIB", "of EPC that the guest is to have, in MiB"}};

struct GuestVerbRow {
  GuestVerb verb;
  bool ends;         ///< the domain ends after it: `cloister` can wait for that
  const char* word;  ///< POST /v1/domains/{domain}/WORD; {"verb":"WORD"}; `cloister WORD DOMAIN`
  const char* help;  ///< of the subcommand
  const char* done;  ///< what `cloister` says when it was done, after the domain's name
  std::span<const VerbArgument> arguments{};
};

inline constexpr GuestVerbRow guest_verbs[] = {
    {GuestVerb::pause, false, "pause", "Stop a domain's processors", "is paused"},
    {GuestVerb::unpause, false, "unpause", "Let a paused domain run", "runs"},
    {GuestVerb::shutdown, true, "shutdown", "Press a domain's power button", "was asked to shut down"},
    {GuestVerb::reboot, false, "reboot", "Reset a domain", "is rebooting"},
    {GuestVerb::trigger, false, "trigger", "Send an event to a domain's processor", "was triggered", trigger_arguments},
    {GuestVerb::wake, false, "wake", "Wake a domain that has suspended itself to RAM", "is awake"},
    {GuestVerb::epc_target, false, "epc-target", "Ask a domain's guest to have so much EPC", "was asked",
     epc_target_arguments},
};

/// Null: there is no such verb.
const GuestVerbRow* find_guest_verb(std::string_view word);

/// The arguments in a request: all that the row has, by their members' names. What is wrong with them is the fields'
/// error.
nlohmann::json read_arguments(const GuestVerbRow& row, JsonFields& fields);

}  // namespace cloister::toolstack
