#include "daemon/api_migration.hpp"

#include "daemon/api_replies.hpp"
#include "daemon/migrations.hpp"

namespace cloister::toolstack {

namespace {

using nlohmann::json;
constexpr std::size_t longest_address = 256;
using Response = HttpServer::Response;

/// Another protocol from here on: whoever was given the connection speaks it.
Response switched(const std::string& session, const std::string& answer = {}) {
  Response response{
      .status = 101, .type = {}, .body = {}, .fields = {{"Upgrade", move_protocol}, {"Cloister-Session", session}}};
  if (!answer.empty()) response.fields.emplace_back("Cloister-Answer", answer);
  return response;
}

/// nullopt: it does.
std::optional<Response> speaks_no_move(const ApiCall& call) {
  if (call.request.upgrade == move_protocol) return std::nullopt;
  Response response = refuse({.status = 426, .message = std::string("expected 'Upgrade: ") + move_protocol + "'"});
  response.fields.emplace_back("Upgrade", move_protocol);
  return response;
}

/// The offer in a request's body.
tl::expected<Offer, std::string> offer_of(const ApiCall& call) {
  const auto body = body_of(call.request);
  if (!body) return tl::unexpected(body.error());
  const auto member = body->find("offer");
  if (member == body->end()) return tl::unexpected(std::string("'offer' is missing"));
  auto offer = read_offer(*member);
  if (!offer) return tl::unexpected("'offer': " + offer.error());
  return std::move(*offer);
}

}  // namespace

Response post_offer(const ApiCall& call) {
  std::optional<MovedEnclaves> enclaves;
  std::optional<PublicKey> target;
  if (!call.request.body.empty()) {
    const auto body = body_of(call.request);
    if (!body) return bad_body(body.error());
    std::string word, key;
    JsonFields fields(*body);
    if (fields.has("enclaves")) fields.text("enclaves", word);
    if (fields.has("target")) fields.text("target", key);
    fields.refuse_others();
    if (fields.ok() && fields.has("enclaves") && word != "keep" && word != "lose")
      fields.fail("'enclaves': expected \"keep\" or \"lose\"");
    if (!fields.ok()) return bad_body(fields.error());
    if (!word.empty()) enclaves = word == name_of(MovedEnclaves::keep) ? MovedEnclaves::keep : MovedEnclaves::lose;
    target = read_public_key(key);
    if (!key.empty() && !target) return bad_body(std::string("'target': expected ") + public_key_form);
  }
  const auto offer = call.domains.migrations().offer(call.domain, enclaves, target);
  return offer ? reply(to_json(*offer)) : refuse(offer.error());
}

/// A source's: its target has answered.
Response post_move_proof(const ApiCall& call) {
  const auto body = body_of(call.request);
  if (!body) return bad_body(body.error());
  std::string session, answer;
  JsonFields fields(*body);
  fields.text("session", session).text("answer", answer);
  fields.refuse_others();
  if (!fields.ok()) return bad_body(fields.error());
  const auto proof = call.domains.migrations().prove(call.domain, session, answer);
  if (!proof) return refuse(proof.error());
  return reply(json{{"proof", proof->text}, {"keys", proof->keys}, {"peer", proof->peer}});
}

Response post_migration(const ApiCall& call) {
  if (auto no = speaks_no_move(call)) return std::move(*no);
  const auto body = body_of(call.request);
  if (!body) return bad_body(body.error());
  Departure how;
  JsonFields fields(*body);
  fields.text("session", how.session).text("to", how.peer);
  if (fields.has("downtime_ms")) fields.number("downtime_ms", how.limits.downtime_ms, MoveLimits::longest_downtime_ms);
  if (fields.has("bandwidth_mib")) fields.number("bandwidth_mib", how.limits.bandwidth_mib);
  fields.refuse_others();
  if (!fields.ok()) return bad_body(fields.error());
  const auto done = call.domains.migrations().depart(call.domain, how, call.request.connection);
  return done ? switched(how.session) : refuse(done.error());
}

Response get_migration(const ApiCall& call) {
  const auto domain = call.domains.find(call.domain);
  if (!domain) return refuse(domain.error());
  if (!domain->move) return refuse({.status = 404, .message = "'" + domain->name + "' was not to move"});
  return reply(view(*domain->move));
}

Response delete_migration(const ApiCall& call) {
  if (const auto done = call.domains.migrations().cancel(call.domain); !done) return refuse(done.error());
  return reply(call.domains.find(call.domain));
}

Response post_hold(const ApiCall& call) {
  const auto body = body_of(call.request);
  if (!body) return bad_body(body.error());
  std::string session;
  JsonFields fields(*body);
  fields.text("session", session);
  fields.refuse_others();
  if (!fields.ok()) return bad_body(fields.error());
  const auto held = call.domains.migrations().hold(call.domain, session);
  if (!held) return refuse(held.error());
  json body_of_reply{{"session", session}, {"paused", held->paused}};
  if (!held->word.empty()) body_of_reply["word"] = held->word;
  return reply(body_of_reply);
}

/// A source's: what its target has said.
Response post_verdict(const ApiCall& call) {
  const auto body = body_of(call.request);
  if (!body) return bad_body(body.error());
  std::string session, verdict, word;
  JsonFields fields(*body);
  fields.text("session", session).text("verdict", verdict);
  if (fields.has("word")) fields.text("word", word);
  fields.refuse_others();
  if (fields.ok() && verdict != "commit" && verdict != "abort" && verdict != "none")
    fields.fail("'verdict': expected commit, abort or none");
  if (!fields.ok()) return bad_body(fields.error());
  if (verdict == "none") {
    if (const auto stays = call.domains.migrations().stay(call.domain, session); !stays) return refuse(stays.error());
    return reply(json{{"session", session}, {"verdict", verdict}});
  }
  const auto done = call.domains.migrations().leave(call.domain, session, verdict == "commit", word);
  if (!done) return refuse(done.error());
  json answer{{"session", session}, {"verdict", verdict}};
  if (!done->empty()) answer["word"] = *done;
  return reply(answer);
}

/// A source's: its connection goes on at another machine.
Response post_way(const ApiCall& call) {
  if (auto no = speaks_no_move(call)) return std::move(*no);
  const auto body = body_of(call.request);
  if (!body) return bad_body(body.error());
  std::string to;
  JsonFields fields(*body);
  fields.text("to", to);
  fields.refuse_others();
  if (fields.ok() && to.size() > longest_address) fields.fail("'to': expected 256 characters at most");
  if (!fields.ok()) return bad_body(fields.error());
  const auto peer = call.domains.reach(to, call.request.connection);
  if (!peer) return refuse({.status = 502, .message = peer.error()});
  Response response{.status = 101, .type = {}, .body = {}, .fields = {{"Upgrade", move_protocol}}};
  response.fields.emplace_back("Cloister-Peer", *peer);
  return response;
}

/// Of who serves other machines, and is root or the daemon's user.
Response post_transfers(const ApiCall& call) { return reply(call.domains.transfer_order()); }

Response post_check(const ApiCall& call) {
  const auto offer = offer_of(call);
  if (!offer) return bad_body(offer.error());
  return reply(json{{"refused", call.domains.migrations().refusals(*offer, owner_of(call.request.peer))},
                    {"machine_key", to_text(call.domains.machine_key())}});
}

Response post_arrival(const ApiCall& call) {
  if (auto no = speaks_no_move(call)) return std::move(*no);
  const auto offer = offer_of(call);
  if (!offer) return bad_body(offer.error());
  const auto come = call.domains.migrations().arrive(*offer, owner_of(call.request.peer), call.request.connection);
  return come ? switched(come->session, come->answer) : refuse(come.error());
}

Response get_arrival(const ApiCall& call) {
  const ArrivalInfo arrival = call.domains.migrations().arrival(call.domain, call.request.peer);
  json body{{"phase", name_of(arrival.phase)}, {"uuid", arrival.uuid}, {"name", arrival.name}};
  if (!arrival.error.empty()) body["error"] = arrival.error;
  return reply(body);
}

/// A target's: its source has proved which machine it is.
Response put_proof(const ApiCall& call) {
  const auto body = body_of(call.request);
  if (!body) return bad_body(body.error());
  std::string proof, keys;
  JsonFields fields(*body);
  fields.text("proof", proof);
  if (fields.has("keys")) fields.text("keys", keys);
  fields.refuse_others();
  if (!fields.ok()) return bad_body(fields.error());
  const auto peer = call.domains.migrations().accept(call.domain, call.request.peer, proof, keys);
  return peer ? reply(json{{"session", call.domain}, {"peer", *peer}}) : refuse(peer.error());
}

/// A target's: asked for, and answered with the one that counts.
Response put_verdict(const ApiCall& call) {
  const auto body = body_of(call.request);
  if (!body) return bad_body(body.error());
  std::string word;
  WantedVerdict wanted;
  JsonFields fields(*body);
  fields.text("verdict", word);
  if (fields.has("paused")) fields.boolean("paused", wanted.paused);
  if (fields.has("held")) fields.text("held", wanted.held);
  if (fields.has("uuid")) fields.text("uuid", wanted.uuid);
  fields.refuse_others();
  if (fields.ok() && word != "commit" && word != "abort") fields.fail("'verdict': expected commit or abort");
  if (!fields.ok()) return bad_body(fields.error());
  wanted.commit = word == "commit";
  const auto said = call.domains.migrations().decide(call.domain, call.request.peer, wanted);
  if (!said) return refuse(said.error());
  return reply(
      json{{"session", call.domain}, {"verdict", said->verdict.commit ? "commit" : "abort"}, {"word", said->word}});
}

Response delete_arrival(const ApiCall& call) {
  // Said in so many words: what asks for this path alone is told to by whoever carries the move.
  std::optional<std::string> word{""};
  if (const auto text = call.request.query.find("source"); text != call.request.query.end()) {
    if (text->second != "gone") return bad_request("'source': expected gone");
    word.reset();
  }
  if (const auto done = call.domains.migrations().forget(call.domain, call.request.peer, word); !done)
    return refuse(done.error());
  return reply(json{{"session", call.domain}});
}

/// The same, with its source's word.
Response put_done(const ApiCall& call) {
  const auto body = body_of(call.request);
  if (!body) return bad_body(body.error());
  std::string word;
  JsonFields fields(*body);
  fields.text("word", word);
  fields.refuse_others();
  if (!fields.ok()) return bad_body(fields.error());
  if (const auto done = call.domains.migrations().forget(call.domain, call.request.peer, word); !done)
    return refuse(done.error());
  return reply(json{{"session", call.domain}});
}

}  // namespace cloister::toolstack
