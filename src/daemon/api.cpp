// A request goes to the row whose method and path it has, if who asks has the row's right. Every refusal is logged,
// with the domain that it was about.
#include "daemon/api.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>

#include "daemon/api_definitions.hpp"
#include "daemon/api_keys.hpp"
#include "daemon/api_migration.hpp"
#include "daemon/api_replies.hpp"
#include "daemon/dashboard.hpp"
#include "daemon/refusal_log.hpp"
#include "host/log.hpp"

namespace cloister::toolstack {

namespace {

using nlohmann::json;
using Response = HttpServer::Response;

/// Whether who asks may read its text, and so what else quotes that.
bool reads_text(const ApiCall& call, const Owner& owner) {
  return may(call.request.peer, owner, Right::control, call.domains.machine().access, ::geteuid());
}

constexpr const char* kept_back = "who may control it is told why";

DomainInfo as_seen(const ApiCall& call, DomainInfo domain) {
  if (reads_text(call, domain.owner)) return domain;
  if (!domain.start_failed.why.empty()) domain.start_failed.why = kept_back;
  if (names_a_dump(domain.silicon)) domain.silicon = "a dump";
  return domain;
}

Response get_host(const ApiCall& call) {
  json host = view_host(call.domains.machine(), call.host, call.domains.memory(), call.domains.processors());
  host["machine_key"] = to_text(call.domains.machine_key());
  AutostartInfo autostart = call.domains.autostart();
  for (auto& [name, failure] : autostart.failed) {
    if (const auto domain = call.domains.find(name); !domain || !reads_text(call, domain->owner))
      failure.why = kept_back;
  }
  host["autostart"] = view(autostart);
  return reply(host);
}
Response get_epc(const ApiCall& call) { return reply(view_epc(call.domains.machine(), call.domains.epc())); }
Response get_epc_domains(const ApiCall& call) { return reply(view_epc_by_domain(call.domains.list())); }

Response get_epc_map(const ApiCall& call) {
  constexpr u64 default_cells = 4096, most_cells = 65536;
  u64 cells = default_cells;
  if (const auto text = call.request.query.find("cells"); text != call.request.query.end()) {
    const char* end = text->second.data() + text->second.size();
    const auto [stop, error] = std::from_chars(text->second.data(), end, cells);
    if (error != std::errc() || stop != end || cells == 0 || cells > most_cells)
      return bad_request("'cells': expected a number from 1 to " + std::to_string(most_cells));
  }
  return reply(view_epc_map(map_epc(call.domains.epc(), call.domains.list(), cells)));
}

Response get_domains(const ApiCall& call) {
  bool all = false;
  if (const auto text = call.request.query.find("all"); text != call.request.query.end()) {
    all = text->second == "true";
    if (!all && text->second != "false") return bad_request("'all': expected true or false");
  }
  json list = json::array();
  for (const DomainInfo& domain : call.domains.list()) list.push_back(view(as_seen(call, domain)));
  if (all) {
    for (const DomainInfo& domain : call.domains.list_shut_off()) list.push_back(view(as_seen(call, domain)));
  }
  return reply(list);
}

Response post_domain(const ApiCall& call) {
  const auto body = body_of(call.request);
  if (!body) return bad_body(body.error());
  JsonFields fields(*body);
  CreateRequest request = configuration_of(call, fields);
  if (fields.has("paused")) fields.boolean("paused", request.paused);
  bool persist = false;
  if (fields.has("persist")) fields.boolean("persist", persist);
  fields.refuse_others();
  if (!fields.ok()) return bad_body(fields.error());
  return persist ? define_and_start(call, request) : reply(call.domains.add(request), 201);
}

Response get_domain(const ApiCall& call) {
  auto domain = call.domains.find(call.domain);
  if (domain) *domain = as_seen(call, std::move(*domain));
  return reply(domain);
}
Response get_policy(const ApiCall& call) {
  auto policies = call.domains.policies(call.domain);
  if (policies) return reply(to_json(*policies));
  // That it cannot be made is an error in the domain's text.
  const auto domain = call.domains.find(call.domain);
  if (policies.error().status == 500 && !(domain && reads_text(call, domain->owner)))
    policies.error().message = kept_back;
  return refuse(policies.error());
}

Response delete_domain(const ApiCall& call) { return reply(call.domains.destroy(call.domain)); }

Response patch_epc(const ApiCall& call) {
  const auto body = body_of(call.request);
  if (!body) return bad_body(body.error());
  JsonFields fields(*body);
  EpcChange change;
  if (fields.has("min_mib")) fields.number("min_mib", change.min_mib.emplace());
  if (fields.has("weight")) fields.number("weight", change.weight.emplace());
  fields.refuse_others();
  if (!fields.ok()) return bad_body(fields.error());
  return reply(call.domains.change_epc(call.domain, change));
}

Response ask_guest(const ApiCall& call) {
  json arguments = json::object();
  if (!call.verb->arguments.empty()) {
    const auto body = body_of(call.request);
    if (!body) return bad_body(body.error());
    JsonFields fields(*body);
    arguments = read_arguments(*call.verb, fields);
    fields.refuse_others();
    if (!fields.ok()) return bad_body(fields.error());
  }
  return reply(call.domains.tell(call.domain, *call.verb, arguments));
}

/// The file that a request names; the other members are the caller's.
FileRequest file_of(const ApiCall& call, JsonFields& fields) {
  FileRequest request{.file = {}, .directory = {}, .owner = owner_of(call.request.peer)};
  fields.text("file", request.file);
  if (fields.has("directory")) fields.text("directory", request.directory);
  if (fields.has("enclaves")) {
    std::string word;
    fields.text("enclaves", word);
    if (fields.ok() && word != "keep" && word != "lose") fields.fail("'enclaves': expected \"keep\" or \"lose\"");
    request.enclaves = word == "keep" ? Enclaves::keep : Enclaves::lose;
  }
  return request;
}

/// The same of one that is made.
FileRequest new_file_of(const ApiCall& call, JsonFields& fields) {
  FileRequest request = file_of(call, fields);
  if (fields.has("replace")) fields.boolean("replace", request.replaces);
  return request;
}

Response save_domain(const ApiCall& call) {
  const auto body = body_of(call.request);
  if (!body) return bad_body(body.error());
  JsonFields fields(*body);
  const FileRequest request = new_file_of(call, fields);
  fields.refuse_others();
  if (!fields.ok()) return bad_body(fields.error());
  return reply(call.domains.save(call.domain, request), 202);
}

/// Without "enclaves": they stay with the domain.
Response snapshot_domain(const ApiCall& call) {
  const auto body = body_of(call.request);
  if (!body) return bad_body(body.error());
  JsonFields fields(*body);
  if (fields.has("enclaves")) fields.fail("'enclaves': a snapshot has none");
  FileRequest request = new_file_of(call, fields);
  fields.refuse_others();
  if (!fields.ok()) return bad_body(fields.error());
  request.enclaves = Enclaves::lose;
  request.then = AfterSave::goes_on;
  return reply(call.domains.save(call.domain, request), 202);
}

Response post_restore(const ApiCall& call) {
  const auto body = body_of(call.request);
  if (!body) return bad_body(body.error());
  JsonFields fields(*body);
  const FileRequest request = file_of(call, fields);
  bool paused = false;
  if (fields.has("paused")) fields.boolean("paused", paused);
  fields.refuse_others();
  if (!fields.ok()) return bad_body(fields.error());
  return reply(call.domains.restore(request, paused), 201);
}

Response get_console(const ApiCall& call) {
  const auto domain = call.domains.find(call.domain);
  if (!domain) return refuse(domain.error());
  if (domain->id == 0) return refuse(ApiError{409, "'" + domain->name + "' is shut off"});
  if (domain->page == nullptr && domain->state == "unresponsive")
    return refuse(ApiError{500, "'" + domain->name + "' does not answer: its console is not at hand"});
  return {.status = 200,
          .type = "text/plain; charset=utf-8",
          .body = domain->page == nullptr ? std::string() : domain->page->console()};
}

Response get_metrics(const ApiCall& call) {
  return {.status = 200,
          .type = "text/plain; version=0.0.4",
          .body = metrics(call.domains.epc(), call.domains.list(), call.domains.definition_counts(),
                          call.domains.keys(), call.requests.counts())};
}

Response get_page(const ApiCall&) {
  return {.status = 200,
          .type = "text/html; charset=utf-8",
          .body = std::string(dashboard_page()),
          .fields = {{"Content-Security-Policy", dashboard_policy()}}};
}

std::vector<Route> make_routes() {
  std::vector<Route> all{{"GET", "/", Right::see, get_page},
                         {"GET", "/v1/host", Right::see, get_host},
                         {"POST", "/v1/host/down", Right::host, post_host_down},
                         {"POST", "/v1/host/up", Right::host, post_host_up},
                         {"POST", "/v1/domains/{domain}/host-save", Right::host, save_for_host},
                         {"GET", "/v1/epc", Right::see, get_epc},
                         {"GET", "/v1/epc/domains", Right::see, get_epc_domains},
                         {"GET", "/v1/epc/map", Right::see, get_epc_map},
                         {"GET", "/v1/domains", Right::see, get_domains},
                         {"POST", "/v1/domains", Right::create, post_domain},
                         {"GET", "/v1/domains/{domain}", Right::see, get_domain},
                         {"DELETE", "/v1/domains/{domain}", Right::control, delete_domain},
                         {"PUT", "/v1/domains/{domain}", Right::create, put_definition},
                         {"PATCH", "/v1/domains/{domain}", Right::control, patch_domain},
                         {"POST", "/v1/domains/{domain}/start", Right::control, start_domain},
                         {"PATCH", "/v1/domains/{domain}/epc", Right::epc, patch_epc},
                         {"GET", "/v1/domains/{domain}/definition", Right::control, get_definition},
                         {"DELETE", "/v1/domains/{domain}/definition", Right::control, delete_definition},
                         {"POST", "/v1/domains/{domain}/save", Right::save, save_domain},
                         {"POST", "/v1/domains/{domain}/snapshot", Right::save, snapshot_domain},
                         {"POST", "/v1/restore", Right::create, post_restore},
                         {"POST", "/v1/domains/{domain}/migration/offer", Right::save, post_offer},
                         {"POST", "/v1/domains/{domain}/migration/proof", Right::save, post_move_proof},
                         {"POST", "/v1/domains/{domain}/migration/way", Right::save, post_way},
                         {"POST", "/v1/transfers", Right::host, post_transfers},
                         {"POST", "/v1/domains/{domain}/migration/hold", Right::save, post_hold},
                         {"POST", "/v1/domains/{domain}/migration/verdict", Right::save, post_verdict},
                         {"POST", "/v1/domains/{domain}/migration", Right::save, post_migration},
                         {"GET", "/v1/domains/{domain}/migration", Right::see, get_migration},
                         {"DELETE", "/v1/domains/{domain}/migration", Right::save, delete_migration},
                         {"POST", "/v1/offers", Right::create, post_check},
                         {"POST", "/v1/migrations", Right::create, post_arrival},
                         {"GET", "/v1/migrations/{session}", Right::create, get_arrival},
                         {"PUT", "/v1/migrations/{session}/proof", Right::create, put_proof},
                         {"PUT", "/v1/migrations/{session}/verdict", Right::create, put_verdict},
                         {"PUT", "/v1/migrations/{session}/done", Right::create, put_done},
                         {"DELETE", "/v1/migrations/{session}", Right::create, delete_arrival},
                         {"GET", "/v1/keys", Right::see, get_keys},
                         {"GET", "/v1/tickets", Right::see, get_tickets},
                         {"DELETE", "/v1/tickets/{ticket}", Right::keys, delete_ticket},
                         {"DELETE", "/v1/keys/{key}", Right::keys, delete_key},
                         {"POST", "/v1/domains/{domain}/keys", Right::keys, post_keys},
                         {"GET", "/v1/domains/{domain}/policy", Right::see, get_policy},
                         {"GET", "/v1/domains/{domain}/console", Right::console, get_console},
                         {"GET", "/metrics", Right::see, get_metrics}};
  for (const GuestVerbRow& row : guest_verbs)
    all.push_back({"POST", std::string("/v1/domains/{domain}/") + row.word, Right::control, ask_guest, &row});
  return all;
}

/// What stands in a path for the variable of the pattern whose form it has; nullopt if it has another one.
std::optional<std::string> match(std::string_view pattern, std::string_view path) {
  const std::size_t at = pattern.find('{');
  if (at == std::string_view::npos) return pattern == path ? std::optional<std::string>("") : std::nullopt;
  const std::string_view before = pattern.substr(0, at), after = pattern.substr(pattern.find('}') + 1);
  if (path.size() <= before.size() + after.size() || !path.starts_with(before) || !path.ends_with(after))
    return std::nullopt;
  const std::string_view domain = path.substr(before.size(), path.size() - before.size() - after.size());
  if (domain.find('/') != std::string_view::npos) return std::nullopt;
  return std::string(domain);
}

void log_refusal(const std::string& method, const std::string& path, const Peer& peer, const Response& response,
                 const std::string& domain) {
  const json body = json::parse(response.body, nullptr, false);
  std::string message;
  if (body.is_object() && body.contains("error")) message = body["error"]["message"].get<std::string>();
  log(LogLevel::warning, "request-refused",
      {{"method", method},
       {"path", path},
       {"status", std::to_string(response.status)},
       {"domain", domain},
       {"uid", std::to_string(peer.uid)},
       {"pid", std::to_string(peer.pid)},
       {"error", message}});
}

void log_lost_refusals(unsigned uid, u64 times) {
  log(LogLevel::warning, "lines-suppressed", {{"uid", std::to_string(uid)}, {"times", std::to_string(times)}});
}

/// The name in a creation's configuration, as far as it can be read.
std::string domain_of(const ApiCall& call) {
  if (!call.domain.empty()) return call.domain;
  const auto body = body_of(call.request);
  if (!body || !body->contains("config") || !(*body)["config"].is_string()) return {};
  const auto read = read_config((*body)["config"].get<std::string>());
  return read ? read->config.name : std::string();
}

/// From here on the domain is known by its uuid: when the row acts its name may be another one's. A record that cannot
/// be understood has none, and no definition.
Response perform(const Route& route, ApiCall call) {
  const Peer& peer = call.request.peer;
  const RightOf whose = row_of(route.right).whose;
  if (whose == RightOf::nobody && !may(peer, {}, route.right, {}, ::geteuid()))
    return refuse({.status = 403, .message = refusal(peer, "", {}, route.right)});
  // Who erases a key, or a ticket, is judged by whose it then is.
  if (whose == RightOf::owner && !route.path.ends_with("{key}") && !route.path.ends_with("{ticket}")) {
    const auto domain = call.domains.find(call.domain);
    if (!domain) return refuse(domain.error());
    if (!may(peer, domain->owner, route.right, call.domains.machine().access, ::geteuid()))
      return refuse({.status = 403, .message = refusal(peer, domain->name, domain->owner, route.right)});
    call.domain = domain->uuid.empty() ? std::to_string(domain->id) : domain->uuid;
  }
  return route.act(call);
}

const char* text_of(int status) {
  switch (status) {
    case 408: return "the request did not come in time";
    case 412: return "what is there is not what the request is made for";
    case 413: return "the request is too long";
    case 414: return "the request's path is too long";
    case 415: return "the request's body is encoded";
    case 417: return "the request expects what this server does not do";
    case 431: return "the request's head, or a field in it, is too long";
    case 503: return "too many connections of this user, or the server is ending";
    case 500: return "an internal error";
    default: return "not a request that this server takes";
  }
}

}  // namespace

std::span<const Route> routes() {
  static const std::vector<Route> all = make_routes();
  return all;
}

HttpServer::Handlers api_handlers(Domains& domains, HostEpc host) {
  HttpServer::Handlers handlers;
  const auto counts = std::make_shared<RequestCounts>();
  const auto refusals = std::make_shared<RefusalLog>(log_lost_refusals);
  handlers.handle = [&domains, host = std::move(host), counts, refusals](const HttpServer::Request& request) {
    std::string allowed;
    for (const Route& route : routes()) {
      const auto domain = match(route.path, request.path);
      if (!domain) continue;
      allowed.append(allowed.empty() ? "" : ", ").append(route.method);
      if (route.method != request.method) continue;
      const ApiCall call{domains, host, request, *counts, *domain, route.verb};
      Response response = perform(route, call);
      counts->add(request.method, response.status);
      if (response.status >= 400)
        refusals->add(request.peer.uid,
                      [&] { log_refusal(request.method, request.path, request.peer, response, domain_of(call)); });
      return response;
    }
    Response response = allowed.empty()
                            ? refuse({.status = 404, .message = "there is nothing at '" + request.path + "'"})
                            : refuse({.status = 405, .message = request.method + " is not for '" + request.path + "'"});
    if (!allowed.empty()) response.fields.emplace_back("Allow", allowed);
    counts->add(request.method, response.status);
    refusals->add(request.peer.uid, [&] { log_refusal(request.method, request.path, request.peer, response, {}); });
    return response;
  };
  handlers.reject = [counts, refusals](int status, const Peer& peer, const std::string& why) {
    Response response = refuse({.status = status, .message = why.empty() ? text_of(status) : why});
    counts->add("", status);
    refusals->add(peer.uid, [&] { log_refusal("", "", peer, response, {}); });
    return response;
  };
  return handlers;
}

}  // namespace cloister::toolstack
