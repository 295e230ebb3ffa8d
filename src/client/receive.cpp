// The carrier at a domain's target: what comes is for this daemon to judge, which knows who asks it.
#include <fmt/format.h>
#include <signal.h>
#include <spdlog/spdlog.h>

#include <chrono>
#include <thread>

#include "arch/try.hpp"
#include "client/api.hpp"
#include "client/client.hpp"
#include "client/move_transport.hpp"
#include "client/print.hpp"
#include "host/exit_status.hpp"
#include "host/files.hpp"
#include "text/json_text.hpp"

namespace cloister::toolstack::client {
namespace {

/// The checks read kernels; a verdict waits for the disk.
constexpr std::chrono::milliseconds to_decide = std::chrono::minutes(5), between_phases{20};

Failure receive_failure(const std::string& what) { return {"cloister: " + what, exit_status::failed}; }

class Arrival {
 public:
  Arrival(const Common& common, Wire& wire) : api_(common.run_folder, to_decide), wire_(wire) {}

  Answer<void> go() {
    TRY(said(wire_.greet()));
    const WireMessage first = TRY(heard());
    const auto request = TRY(json_in(first));
    if (first.kind == WireKind::resolve) {
      session_ = text_in(request, "session");
      // It becomes a part of a path.
      if (session_.empty() || session_.find_first_not_of("0123456789abcdef") != std::string::npos) return wrong(first);
      return answer_verdict({{"verdict", "abort"}, {"uuid", text_in(request, "uuid")}});
    }
    if (first.kind != WireKind::offer) return wrong(first);
    const auto said_offer = request.find("offer");
    if (said_offer == request.end()) return wrong(first);
    const Json offer{{"offer", Json(*said_offer)}};
    const Json checked = TRY(asked(api_.post("/v1/offers", offer)));
    const Json refused = checked.value("refused", Json::array());
    if (!refused.empty() || flag_in(request, "dry_run")) return said(wire_.send(WireKind::answer, json_text(checked)));
    auto stream = TRY(asked(api_.upgrade("/v1/migrations", offer)));
    session_ = stream.session;
    name_ = text_in(*said_offer, "name");
    Json answer{{"refused", Json::array()}, {"session", session_}};
    if (!stream.answer.empty()) answer["answer"] = stream.answer;
    TRY(said(wire_.send(WireKind::answer, json_text(answer))));
    const auto brought = stream.answer.empty() ? bring(stream.socket) : bring_proved(stream.socket);
    if (!brought) {
      (void)api_.put(path("/verdict"), Json{{"verdict", "abort"}});
      return brought;
    }
    return {};
  }

 private:
  std::string path(const std::string& below = "") const { return "/v1/migrations/" + session_ + below; }

  static Answer<void> said(const tl::expected<void, std::string>& result) {
    if (!result) return tl::unexpected(receive_failure(result.error()));
    return {};
  }
  Answer<WireMessage> heard() {
    auto message = wire_.receive();
    if (!message) return tl::unexpected(receive_failure(message.error()));
    if (message->kind == WireKind::failed)
      return tl::unexpected(receive_failure("the source says: " + reason_in(*message)));
    return std::move(*message);
  }
  static Answer<nlohmann::json> json_in(const WireMessage& message) {
    auto body = object_in(message);
    if (!body) return tl::unexpected(receive_failure("the source said: " + body.error()));
    return std::move(*body);
  }
  Answer<void> wrong(const WireMessage& message) {
    return fails(receive_failure(
        fmt::format("found a message '{}', which is out of turn", wire_row(static_cast<u32>(message.kind))->name)));
  }
  /// The source is told, too.
  Answer<void> fails(const Failure& why) {
    constexpr std::string_view ours = "cloister: ";
    const std::string text = why.message.starts_with(ours) ? why.message.substr(ours.size()) : why.message;
    (void)wire_.send(WireKind::failed, json_text(Json{{"error", text}}));
    return tl::unexpected(why);
  }
  template <class T>
  Answer<T> asked(Answer<T> answer) {
    if (!answer) (void)fails(answer.error());
    return answer;
  }

  Answer<void> bring_proved(Fd& stream) {
    const WireMessage message = TRY(heard());
    if (message.kind != WireKind::proof) return wrong(message);
    const auto proof = TRY(json_in(message));
    TRY(asked(api_.put(path("/proof"), Json{{"proof", text_in(proof, "proof")}, {"keys", text_in(proof, "keys")}})));
    TRY(take_pieces(stream));
    if (auto come = loaded("awaits-root"); !come) return fails(come.error());
    TRY(said(wire_.send(WireKind::ready)));
    return bring_root(stream);
  }

  /// Its source is held, and has its word from here alone: nothing ends this without a verdict but the end of a client.
  Answer<void> bring_root(Fd& stream) {
    WireMessage message = TRY(heard());
    while (message.kind == WireKind::piece && !message.body.empty()) {
      if (!write_all(stream.get(), message.body)) break;
      message = TRY(heard());
    }
    if (message.kind == WireKind::resolve) return give_up(stream);
    if (message.kind != WireKind::piece) return wrong(message);
    if (!loaded("ready")) return answer_verdict({{"verdict", "abort"}});
    TRY(said(wire_.send(WireKind::ready)));
    return await_commit(stream);
  }

  /// It does not come: what has not come as a whole ends with its stream.
  Answer<void> give_up(Fd& stream) {
    stream = Fd();
    (void)loaded("ready");
    return answer_verdict({{"verdict", "abort"}});
  }

  Answer<void> bring(Fd& stream) {
    TRY(take_pieces(stream));
    if (auto ready = loaded("ready"); !ready) return fails(ready.error());
    TRY(said(wire_.send(WireKind::ready)));
    return await_commit(stream);
  }

  Answer<void> await_commit(Fd& stream) {
    const WireMessage message = TRY(heard());
    if (message.kind == WireKind::resolve) return give_up(stream);
    if (message.kind != WireKind::commit) return wrong(message);
    const auto commit = TRY(json_in(message));
    Json wanted{{"verdict", "commit"}, {"paused", flag_in(commit, "paused")}};
    if (commit.contains("held")) wanted["held"] = text_in(commit, "held");
    return answer_verdict(wanted);
  }

  Answer<void> take_pieces(const Fd& stream) {
    while (true) {
      const WireMessage message = TRY(heard());
      if (message.kind != WireKind::piece) return wrong(message);
      if (message.body.empty()) break;
      // Its process says itself why it takes no more.
      if (!write_all(stream.get(), message.body)) break;
    }
    return {};
  }

  /// It is so far.
  Answer<void> loaded(const std::string& wanted) {
    while (true) {
      const Json now = TRY(api_.get(path()));
      const std::string phase = now.value("phase", "");
      if (phase == wanted) return {};
      if (phase != "loading" && phase != "awaits-root")
        return tl::unexpected(receive_failure(now.value("error", "it has not come")));
      // It may wait for bytes that nobody brings any more.
      if (wire_.has_gone()) return tl::unexpected(receive_failure("the other end has gone"));
      std::this_thread::sleep_for(between_phases);
    }
  }

  Answer<void> answer_verdict(const Json& wanted) {
    const Reply verdict = TRY(asked(api_.put(path("/verdict"), wanted)));
    TRY(said(wire_.send(WireKind::verdict, json_text(verdict.body))));
    if (verdict.body.value("verdict", "") == "commit" && !name_.empty()) spdlog::info("cloister: {} has come", name_);
    const WireMessage message = TRY(heard());
    if (message.kind != WireKind::done) return wrong(message);
    const std::string word = message.body.empty() ? std::string() : text_in(TRY(json_in(message)), "word");
    const auto forgotten = word.empty() ? api_.remove(path()).map([](const auto&) {})
                                        : api_.put(path("/done"), Json{{"word", word}}).map([](const auto&) {});
    if (!forgotten) return tl::unexpected(forgotten.error());
    return {};
  }

  const Api api_;
  Wire& wire_;
  std::string session_, name_;
};

}  // namespace

int receive(const Common& common, const MigrateArguments& arguments) {
  ::signal(SIGPIPE, SIG_IGN);
  if (arguments.stdio == !arguments.target.empty())
    return report({"cloister: expected unix:PATH or --stdio", exit_status::bad_configuration});
  auto wire = await_source(arguments.target);
  if (!wire) return report(receive_failure(wire.error()));
  const auto done = Arrival(common, *wire).go();
  return done ? 0 : report(done.error());
}

}  // namespace cloister::toolstack::client
