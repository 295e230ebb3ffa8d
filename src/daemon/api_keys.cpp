#include "daemon/api_keys.hpp"

#include "daemon/api_replies.hpp"

namespace cloister::toolstack {

HttpServer::Response get_keys(const ApiCall& call) {
  nlohmann::json list = nlohmann::json::array();
  for (const KeyInfo& key : call.domains.keys()) list.push_back(view(key));
  return reply(list);
}

namespace {
nlohmann::json view_of(const TicketInfo& ticket) {
  nlohmann::json view{{"ticket", ticket.ticket}, {"uid", ticket.user}};
  for (const auto& [member, text] : {std::pair{"uuid", &ticket.uuid}, std::pair{"domain", &ticket.name},
                                     std::pair{"file", &ticket.file}, std::pair{"made", &ticket.made}}) {
    if (!text->empty()) view[member] = *text;
  }
  return view;
}
}  // namespace

HttpServer::Response get_tickets(const ApiCall& call) {
  nlohmann::json list = nlohmann::json::array();
  for (const TicketInfo& ticket : call.domains.tickets(call.request.peer)) list.push_back(view_of(ticket));
  return reply(list);
}

HttpServer::Response delete_ticket(const ApiCall& call) {
  const auto erased = call.domains.erase_ticket(call.domain, call.request.peer);
  return erased ? reply(view_of(*erased)) : refuse(erased.error());
}

HttpServer::Response delete_key(const ApiCall& call) {
  const auto erased = call.domains.erase_key(call.domain, call.request.peer);
  return erased ? reply(view(*erased)) : refuse(erased.error());
}

HttpServer::Response post_keys(const ApiCall& call) {
  const auto body = body_of(call.request);
  if (!body) return bad_body(body.error());
  std::string word;
  JsonFields fields(*body);
  fields.text("sgx_platform", word);
  fields.refuse_others();
  if (fields.ok() && word != "private") fields.fail("'sgx_platform': expected \"private\"");
  if (!fields.ok()) return bad_body(fields.error());
  return reply(call.domains.move_to_own_keys(call.domain, call.request.peer));
}

}  // namespace cloister::toolstack
