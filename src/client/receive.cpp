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
      return answer_verdict("abort", false);
    }
    if (first.kind != WireKind::offer) return wrong(first);
    const auto said_offer = request.find("offer");
    if (said_offer == request.end()) return wrong(first);
    const Json offer{{"offer", Json(*said_offer)}};
    const Json checked = TRY(asked(api_.post("/v1/offers", offer)));
    const Json refused = checked.value("refused", Json::array());
    if (!refused.empty() || flag_in(request, "dry_run")) return said(wire_.send(WireKind::answer, json_text(checked)));
    const auto stream = TRY(asked(api_.upgrade("/v1/migrations", offer)));
    session_ = stream.session;
    name_ = text_in(*said_offer, "name");
    Json answer{{"refused", Json::array()}, {"session", session_}};
    if (!stream.answer.empty()) answer["answer"] = stream.answer;
    TRY(said(wire_.send(WireKind::answer, json_text(answer))));
    const auto brought = stream.answer.empty() ? bring(stream.socket.get()) : bring_proved(stream.socket.get());
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

  Answer<void> bring_proved(int stream) {
    const WireMessage message = TRY(heard());
    if (message.kind != WireKind::proof) return wrong(message);
    const auto proof = TRY(json_in(message));
    TRY(asked(api_.put(path("/proof"), Json{{"proof", text_in(proof, "proof")}})));
    return bring(stream);
  }

  Answer<void> bring(int stream) {
    while (true) {
      const WireMessage message = TRY(heard());
      if (message.kind != WireKind::piece) return wrong(message);
      if (message.body.empty()) break;
      // Its process says itself why it takes no more.
      if (!write_all(stream, message.body)) break;
    }
    while (true) {
      const Json now = TRY(asked(api_.get(path())));
      const std::string phase = now.value("phase", "");
      if (phase == "ready") break;
      if (phase != "loading") return fails(receive_failure(now.value("error", "it has not come")));
      std::this_thread::sleep_for(between_phases);
    }
    TRY(said(wire_.send(WireKind::ready)));
    const WireMessage message = TRY(heard());
    if (message.kind != WireKind::commit) return wrong(message);
    const auto commit = TRY(json_in(message));
    return answer_verdict("commit", flag_in(commit, "paused"));
  }

  Answer<void> answer_verdict(const std::string& word, bool paused) {
    const Reply verdict = TRY(asked(api_.put(path("/verdict"), Json{{"verdict", word}, {"paused", paused}})));
    TRY(said(wire_.send(WireKind::verdict, json_text(verdict.body))));
    if (verdict.body.value("verdict", "") == "commit" && !name_.empty()) spdlog::info("cloister: {} has come", name_);
    const WireMessage message = TRY(heard());
    if (message.kind != WireKind::done) return wrong(message);
    if (const auto forgotten = api_.remove(path()); !forgotten) return tl::unexpected(forgotten.error());
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
