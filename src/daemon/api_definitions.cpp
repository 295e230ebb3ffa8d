// Preconditions are those of RFC 9110, 13.1: of a definition's entity-tag.
#include "daemon/api_definitions.hpp"

#include <unistd.h>

#include "config/domain_name.hpp"
#include "daemon/api_replies.hpp"
#include "verbs/start_delay.hpp"

namespace cloister::toolstack {

namespace {

using nlohmann::json;
using Response = HttpServer::Response;

Response reply_with(const DefinitionInfo& info, int status = 200) {
  Response response = reply(view(info), status);
  response.fields.emplace_back("ETag", tag_of(info.definition));
  return response;
}

Response reply_with(const Domains::DefinitionResult& result, int status = 200) {
  return result ? reply_with(*result, status) : refuse(result.error());
}

/// What the request asks of the definition's entity-tag. The call must outlive it.
TagCondition condition_of(const ApiCall& call) {
  return [&call](const std::string* tag) { return preconditions_hold(call.request.conditions, tag); };
}

}  // namespace

CreateRequest configuration_of(const ApiCall& call, JsonFields& fields) {
  CreateRequest request;
  request.owner = owner_of(call.request.peer);
  fields.text("config", request.config).text("file", request.file);
  if (fields.has("directory")) fields.text("directory", request.directory);
  return request;
}

Response put_definition(const ApiCall& call) {
  if (const auto why = name_refused(call.domain)) return bad_request("the domain's name: " + *why);
  const auto body = body_of(call.request);
  if (!body) return bad_body(body.error());
  JsonFields fields(*body);
  DefineRequest request{.name = call.domain, .as = configuration_of(call, fields)};
  fields.refuse_others();
  if (!fields.ok()) return bad_body(fields.error());
  request.condition = condition_of(call);
  const auto defined = call.domains.define(request);
  return reply_with(defined, defined && defined->made ? 201 : 200);
}

Response get_definition(const ApiCall& call) { return reply_with(call.domains.definition(call.domain)); }
Response delete_definition(const ApiCall& call) {
  bool keys = false;
  if (const auto text = call.request.query.find("keys"); text != call.request.query.end()) {
    keys = text->second == "true";
    if (!keys && text->second != "false") return bad_request("'keys': expected true or false");
  }
  return reply_with(call.domains.undefine(call.domain, condition_of(call), &call.request.peer, keys));
}

Response start_domain(const ApiCall& call) {
  bool paused = false, anew = false;
  if (!call.request.body.empty()) {
    const auto body = body_of(call.request);
    if (!body) return bad_body(body.error());
    JsonFields fields(*body);
    if (fields.has("paused")) fields.boolean("paused", paused);
    if (fields.has("anew")) fields.boolean("anew", anew);
    fields.refuse_others();
    if (!fields.ok()) return bad_body(fields.error());
  }
  // Enclaves that were saved end by it, and one in doubt has another key.
  if (anew) {
    const Peer& peer = call.request.peer;
    const auto domain = call.domains.find(call.domain);
    if (!domain) return refuse(domain.error());
    if (!may(peer, domain->owner, Right::keys, call.domains.machine().access, ::geteuid()))
      return refuse({.status = 403, .message = refusal(peer, domain->name, domain->owner, Right::keys)});
  }
  return reply(call.domains.start(call.domain, paused, anew), 201);
}

Response patch_domain(const ApiCall& call) {
  const auto body = body_of(call.request);
  if (!body) return bad_body(body.error());
  DomainChange change{.condition = condition_of(call)};
  JsonFields fields(*body);
  if (fields.has("name")) fields.text("name", change.name.emplace());
  std::string word;
  if (fields.has("autostart")) fields.text("autostart", word);
  if (fields.has("order")) fields.number("order", change.order.emplace());
  if (fields.has("delay_seconds")) fields.number("delay_seconds", change.delay_seconds.emplace(), longest_start_delay);
  fields.refuse_others();
  if (!fields.ok()) return bad_body(fields.error());
  if (body->empty()) return bad_body("expected 'name', 'autostart', 'order' or 'delay_seconds'");
  if (const auto why = change.name ? name_refused(*change.name) : std::nullopt) return bad_request("'name': " + *why);
  if (body->contains("autostart")) {
    const auto autostart = read_autostart(word);
    if (!autostart) return bad_body("'autostart': " + autostart.error());
    change.autostart = *autostart;
  }
  return reply(call.domains.change(call.domain, change));
}

Response define_and_start(const ApiCall& call, const CreateRequest& request) {
  const auto read = read_config(request.config);
  if (!read) return refuse(in_config(request.file, read.error()));
  const std::string& name = read->config.name;
  const auto none_before = [](const std::string* tag) { return tag == nullptr; };
  const auto defined = call.domains.define({.name = name, .as = request, .condition = none_before});
  if (!defined && defined.error().status == 412)
    return refuse({.status = 409, .message = "'" + name + "' is defined already"});
  if (!defined) return refuse(defined.error());
  auto started = call.domains.start(defined->definition.uuid, request.paused);
  if (!started) {
    started.error().message = "'" + name + "' is defined, and not started: " + started.error().message;
    return refuse(started.error());
  }
  started->warnings = defined->warnings;
  return reply(started, 201);
}

Response post_host_down(const ApiCall& call) {
  const HostDown down = call.domains.host_down();
  json answer{{"at_once", call.domains.machine().stop_at_once}, {"domains", view(down.domains)}};
  if (!down.not_noted.empty()) answer["not_noted"] = down.not_noted;
  return reply(answer);
}

Response post_host_up(const ApiCall& call) {
  const auto saved = call.domains.host_up();
  return saved ? reply(json{{"saved", *saved}}) : refuse(saved.error());
}

Response save_for_host(const ApiCall& call) { return reply(call.domains.save_for_host(call.domain), 202); }

}  // namespace cloister::toolstack
