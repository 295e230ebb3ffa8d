// A verb is a row: its name, and the function that does it.
#include "toolstack/vmm/verbs.hpp"

#include <unistd.h>

#include <algorithm>

#include "toolstack/json_fields.hpp"

namespace cloister::toolstack {

namespace {

using nlohmann::json;

json done() { return {{"ok", true}}; }
json error(const std::string& why) { return {{"error", why}}; }
json reply_of(const Lifecycle::Done& result) { return result ? done() : error(result.error()); }

Reply hello(VerbContext& context, const json&) {
  return {{{"ok", true},
           {"id", context.id},
           {"name", context.lifecycle.name()},
           {"pid", ::getpid()},
           {"state", name_of(context.page.state())},
           {"version", control_version}},
          {}};
}

Reply descriptors(VerbContext& context, const json&) { return {done(), context.descriptors}; }

Reply run(VerbContext& context, const json& request) {
  bool paused = false;
  JsonFields fields(request);
  if (fields.has("paused")) fields.boolean("paused", paused);
  return {fields.ok() ? reply_of(context.lifecycle.run(paused)) : error(fields.error()), {}};
}

Reply pause(VerbContext& context, const json&) { return {reply_of(context.lifecycle.pause()), {}}; }
Reply shutdown(VerbContext& context, const json&) { return {reply_of(context.lifecycle.shutdown()), {}}; }
Reply unpause(VerbContext& context, const json&) { return {reply_of(context.lifecycle.unpause()), {}}; }
Reply reboot(VerbContext& context, const json&) { return {reply_of(context.lifecycle.reboot()), {}}; }

Reply rename(VerbContext& context, const json& request) {
  std::string name;
  JsonFields fields(request);
  if (!fields.text("name", name).ok()) return {error(fields.error()), {}};
  context.lifecycle.rename(std::move(name));
  return {done(), {}};
}

Reply status(VerbContext& context, const json&) {
  return {{{"ok", true}, {"state", name_of(context.page.state())}, {"restarts", context.page.restarts()}}, {}};
}

struct Verb {
  std::string_view name;
  Reply (*act)(VerbContext&, const json&);
};
constexpr Verb verbs[] = {{"pause", pause},  {"shutdown", shutdown}, {"hello", hello},   {"descriptors", descriptors},
                          {"run", run},      {"unpause", unpause},   {"reboot", reboot}, {"rename", rename},
                          {"status", status}};

}  // namespace

Reply answer(VerbContext& context, const json& request) {
  std::string name;
  JsonFields fields(request);
  if (!fields.text("verb", name).ok()) return {error(fields.error()), {}};
  const auto verb = std::ranges::find(verbs, name, &Verb::name);
  if (verb == std::end(verbs)) return {error("unknown verb '" + name + "'"), {}};
  return verb->act(context, request);
}

}  // namespace cloister::toolstack
