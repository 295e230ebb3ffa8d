#include "daemon/api_keys.hpp"

#include "daemon/api_replies.hpp"

namespace cloister::toolstack {

HttpServer::Response get_keys(const ApiCall& call) {
  nlohmann::json list = nlohmann::json::array();
  for (const KeyInfo& key : call.domains.keys()) list.push_back(view(key));
  return reply(list);
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
