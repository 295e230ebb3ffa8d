// A domain's way from here to another daemon, as its carrier at the source sees it. It is told to hold before its
// target is asked to run it: so whatever is cut, it goes on here, or runs there, or waits for a person.
#include <fmt/format.h>
#include <signal.h>
#include <spdlog/spdlog.h>

#include <chrono>
#include <cstring>
#include <thread>

#include "arch/try.hpp"
#include "client/api.hpp"
#include "client/client.hpp"
#include "client/move_transport.hpp"
#include "client/print.hpp"
#include "client/progress_line.hpp"
#include "host/exit_status.hpp"
#include "host/files.hpp"
#include "text/json_fields.hpp"
#include "text/shown.hpp"

namespace cloister::toolstack::client {
namespace {

constexpr std::chrono::milliseconds between_reports{200}, between_looks{50}, most_of_a_reason{3000};

Failure migrate_failure(const std::string& what) { return {"cloister: " + what, exit_status::failed}; }

template <class T>
Answer<T> or_failure(tl::expected<T, std::string> result, const std::string& what) {
  if (result) {
    if constexpr (std::is_void_v<T>) {
      return {};
    } else {
      return std::move(*result);
    }
  }
  return tl::unexpected(migrate_failure(fmt::format("{}: {}", what, result.error())));
}

/// Or what it waits for.
void say_that_it_goes_on(const Api& api, const std::string& name) {
  for (const auto end = std::chrono::steady_clock::now() + most_of_a_reason; std::chrono::steady_clock::now() < end;) {
    const auto domain = api.get(domain_path(name));
    if (!domain || domain->value("state", "") != "moving") break;
    const auto move = api.get(domain_path(name, "/migration"));
    if (const std::string waits_for = move ? move->value("waits_for", "") : ""; !waits_for.empty())
      return spdlog::info("cloister: {} goes on here as soon as it has its disks again: {}", name, waits_for);
    std::this_thread::sleep_for(between_looks);
  }
  spdlog::info("cloister: {} goes on here", name);
}

class Departure {
 public:
  Departure(const Common& common, const MigrateArguments& arguments)
      : api_(common.run_folder), json_(common.json), arguments_(arguments) {}

  Answer<void> go(const std::string& domain) {
    const Json how = arguments_.enclaves.empty() ? Json(nullptr) : Json{{"enclaves", arguments_.enclaves}};
    const auto offer = TRY(api_.post(domain_path(domain, "/migration/offer"), how));
    uuid_ = offer.value("uuid", "");
    name_ = offer.value("name", domain);
    Wire wire = TRY(reached());
    TRY(or_failure(wire.send(WireKind::offer, json_text(Json{{"offer", offer}, {"dry_run", arguments_.dry_run}})),
                   where()));
    const WireMessage message = TRY(or_failure(wire.receive(WireKind::answer), where()));
    const auto answer = TRY(or_failure(object_in(message), where()));
    alive_ = text_in(offer, "enclaves") == "keep";
    TRY(accepted(with_own_reasons(offer, answer), answer));
    if (arguments_.dry_run) {
      spdlog::info("cloister: {} could go to {}; nothing was sent", name_, arguments_.target);
      return {};
    }
    session_ = text_in(answer, "session");
    if (alive_) {
      if (auto proved = prove(wire, text_in(answer, "answer")); !proved) {
        (void)wire.send(WireKind::failed, json_text(Json{{"error", proved.error().message}}));
        return proved;
      }
    }
    if (auto sent = send(wire); !sent) {
      (void)wire.send(WireKind::failed, json_text(Json{{"error", sent.error().message}}));
      return sent;
    }
    return alive_ ? send_root(wire) : pass_on(wire);
  }

  /// Of one that may run there, or here: there is nothing to be sent.
  Answer<void> resolve(const std::string& domain) {
    const auto info = TRY(api_.get(domain_path(domain)));
    uuid_ = info.value("uuid", "");
    name_ = info.value("name", domain);
    if (info.value("state", "") != "in-doubt")
      return tl::unexpected(
          migrate_failure(fmt::format("{} is not in doubt: it is {}", name_, info.value("state", ""))));
    session_ = info.value("migration", Json::object()).value("session", "");
    if (arguments_.here) return settle("none", "").map([](const std::string&) {});
    Wire wire = TRY(reached());
    return ask_verdict(wire);
  }

 private:
  std::string where() const { return arguments_.target; }

  Answer<Wire> reached() {
    constexpr const char* failed = "cannot reach its target";
    const std::string& target = arguments_.target;
    if (!target.starts_with(tls_word)) {
      Wire wire = TRY(or_failure(reach_receiver(target), failed));
      TRY(or_failure(wire.greet(), where()));
      return wire;
    }
    // The daemon's: this machine's key is not a user's.
    auto way = TRY(api_.upgrade(domain_path(uuid_, "/migration/way"), Json{{"to", target.substr(tls_word.size())}}));
    Wire wire = TRY(or_failure(wire_of(std::move(way.socket)), failed));
    TRY(or_failure(wire.greet(), where()));
    return wire;
  }

  /// By its source and by its target.
  Answer<void> accepted(const Json& offer, const nlohmann::json& answer) {
    std::string all;
    for (const nlohmann::json& reasons :
         {nlohmann::json(offer.value("refused", Json::array())), answer.value("refused", nlohmann::json::array())}) {
      for (const auto& why : reasons)
        all += fmt::format("\n  {}", printable(why.is_string() ? why.get<std::string>() : json_text(why)));
    }
    if (all.empty()) return {};
    return tl::unexpected(migrate_failure(fmt::format("{} cannot go to {}:{}", name_, where(), all)));
  }

  /// Which machine this is, to a target that has proved which it is.
  Answer<void> prove(Wire& wire, const std::string& answer) {
    const auto proof =
        TRY(api_.post(domain_path(uuid_, "/migration/proof"), Json{{"session", session_}, {"answer", answer}}));
    return or_failure(wire.send(WireKind::proof, json_text(Json{{"proof", proof.value("proof", "")},
                                                                {"keys", proof.value("keys", "")}})),
                      where());
  }

  /// The offer with all that keeps enclaves from going to its target for this machine's part: of what only asks, or is
  /// refused, the target proves nothing.
  Json with_own_reasons(const Json& offer, const nlohmann::json& answer) {
    const std::string key = text_in(answer, "machine_key");
    if (!alive_ || key.empty()) return offer;
    const auto judged = api_.post(domain_path(uuid_, "/migration/offer"), Json{{"enclaves", "keep"}, {"target", key}});
    return judged ? *judged : offer;
  }

  Json order() const {
    Json order{{"session", session_}, {"to", where()}};
    if (arguments_.downtime_ms) order["downtime_ms"] = *arguments_.downtime_ms;
    if (arguments_.bandwidth_mib) order["bandwidth_mib"] = *arguments_.bandwidth_mib;
    return order;
  }

  void show(ProgressLine& line) {
    const auto now = std::chrono::steady_clock::now();
    if (now < next_look_) return;
    next_look_ = now + between_reports;
    const auto move = api_.get(domain_path(uuid_, "/migration"));
    if (!move) return;
    const auto mib = [&](const char* member) { return move->value(member, u64{0}) >> 20; };
    line.show(
        fmt::format("cloister: {}: round {}, {} MiB sent, {} left ({} EPC), {} MiB/s, {} MiB/s change, pause {} ms",
                    name_, move->value("round", 0U), mib("bytes"), mib("bytes_left"), mib("epc_bytes_left"),
                    mib("bytes_a_second"), mib("dirty_bytes_a_second"), move->value("pause_ms", u64{0})));
  }

  /// What its process says of it, which is more than that its stream has ended.
  Failure not_sent() {
    std::string why, waits_for;
    // It takes its enclaves back between the stream's end and the reason.
    for (const auto end = std::chrono::steady_clock::now() + most_of_a_reason; why.empty();) {
      const auto move = api_.get(domain_path(uuid_, "/migration"));
      if (move) why = move->value("failed", "");
      if (move) waits_for = move->value("waits_for", "");
      if (!move || std::chrono::steady_clock::now() > end) break;
      if (why.empty()) std::this_thread::sleep_for(between_looks);
    }
    if (why.empty() && !waits_for.empty())
      return migrate_failure(fmt::format("{} goes on here as soon as it has its disks again: {}", name_, waits_for));
    return migrate_failure(
        fmt::format("{} goes on here: {}", name_, why.empty() ? "its stream has ended too early" : why));
  }

  /// What its process sends until it says that this is all. False: it sends no more, or its target takes no more.
  bool send_pieces(Wire& wire, int stream) {
    ProgressLine line;
    const auto read = [&](std::span<u8> to) { return read_all(stream, to); };
    std::vector<u8> piece;
    for (u32 bytes = 1; bytes != 0; show(line)) {
      // Its target may have had enough.
      if (wire.has_said()) return false;
      if (!read({reinterpret_cast<u8*>(&bytes), sizeof bytes})) return false;
      piece.resize(std::min<u32>(bytes, wire_row(static_cast<u32>(WireKind::piece))->most_bytes));
      if (piece.size() != bytes || !read(piece)) return false;
      if (!wire.send(WireKind::piece, piece)) {
        taken_ = false;
        return false;
      }
    }
    line.clear();
    return true;
  }

  /// All of it, but for the root of its enclaves, and until its target has it; then it is held.
  Answer<void> send(Wire& wire) {
    auto stream = TRY(api_.upgrade(domain_path(uuid_, "/migration"), order()));
    const u8 ready = 1;
    if (!write_all(stream.socket.get(), {&ready, 1})) return tl::unexpected(not_sent());
    if (!send_pieces(wire, stream.socket.get()))
      return !taken_ || wire.has_said() ? refused_amid(wire) : Answer<void>(tl::unexpected(not_sent()));
    TRY(or_failure(wire.receive(WireKind::ready), where()));
    // As long as this is open, it waits for a word.
    const auto held = api_.post(domain_path(uuid_, "/migration/hold"), Json{{"session", session_}});
    if (!held) {
      // It may have heard; its target was not asked yet, and will not be. With enclaves its target's word alone lets it
      // go on then.
      if (!alive_ || !ask_verdict(wire))
        (void)api_.post(domain_path(uuid_, "/migration/verdict"), Json{{"session", session_}, {"verdict", "abort"}});
      return tl::unexpected(held.error());
    }
    paused_ = held->value("paused", false);
    held_ = held->value("word", "");
    stream_ = std::move(stream.socket);
    return {};
  }

  /// The root of its enclaves, which has left as it was held. One that cannot be sent any more never runs there.
  Answer<void> send_root(Wire& wire) {
    if (!send_pieces(wire, stream_.get())) return wire.has_said() ? take_verdict(wire) : ask_verdict(wire);
    auto message = wire.receive();
    if (message && message->kind == WireKind::ready) return pass_on(wire);
    return conclude(wire, std::move(message));
  }

  Answer<void> ask_verdict(Wire& wire) {
    const std::string text = json_text(Json{{"session", session_}, {"uuid", uuid_}});
    if (const auto sent = wire.send(WireKind::resolve, text); !sent) return tl::unexpected(in_doubt(sent.error()));
    return take_verdict(wire);
  }

  Answer<void> refused_amid(Wire& wire) {
    const auto message = wire.receive(WireKind::ready);
    return tl::unexpected(migrate_failure(fmt::format("{} goes on here: {}: {}", name_, where(),
                                                      message ? "it says too early that it has it" : message.error())));
  }

  Failure in_doubt(const std::string& why) const {
    return migrate_failure(
        fmt::format("{} is in doubt: {}; it stands still until `cloister migrate --resolve {} {}` has asked "
                    "there whether it runs",
                    name_, why, name_, where()));
  }

  Answer<void> pass_on(Wire& wire) {
    Json commit{{"paused", paused_}};
    if (alive_) commit["held"] = held_;
    if (const auto sent = wire.send(WireKind::commit, json_text(commit)); !sent)
      return tl::unexpected(in_doubt(sent.error()));
    return take_verdict(wire);
  }

  Answer<void> take_verdict(Wire& wire) { return conclude(wire, wire.receive()); }

  Answer<void> conclude(Wire& wire, tl::expected<WireMessage, std::string> message) {
    if (message) message = Wire::of_kind(std::move(*message), WireKind::verdict);
    if (!message) return tl::unexpected(in_doubt(message.error()));
    const auto verdict = object_in(*message);
    const std::string word = verdict ? text_in(*verdict, "verdict") : "";
    if (!verdict || text_in(*verdict, "session") != session_ || (word != "commit" && word != "abort"))
      return tl::unexpected(in_doubt("its target said what is no verdict about it"));
    const std::string known = TRY(settle(word, text_in(*verdict, "word")));
    (void)wire.send(WireKind::done, known.empty() ? std::string() : json_text(Json{{"word", known}}));
    return {};
  }

  /// This machine's word that it knows the verdict, of one whose enclaves have left.
  Answer<std::string> settle(const std::string& word, const std::string& proof) {
    Json said{{"session", session_}, {"verdict", word}};
    if (!proof.empty()) said["word"] = proof;
    const auto told = api_.post(domain_path(uuid_, "/migration/verdict"), said);
    // One that is gone has heard it before.
    if (!told && !(word == "commit" && told.error().http_status == 404)) {
      Failure why = told.error();
      why.message += fmt::format("; the verdict on {} is {}: `cloister migrate --resolve` tells it again", name_, word);
      return tl::unexpected(why);
    }
    if (json_) {
      print_json(Json{{"uuid", uuid_}, {"name", name_}, {"verdict", word}});
    } else if (word == "commit") {
      spdlog::info(
          "cloister: {} runs at {}, {}", name_, where(),
          alive_ || (told && told->contains("word")) ? "with its enclaves" : "without the enclaves that it had");
    }
    if (word == "commit" || arguments_.resolve) {
      if (word != "commit") say_that_it_goes_on(api_, name_);
      return told ? told->value("word", "") : "";
    }
    return tl::unexpected(migrate_failure(fmt::format("{} goes on here: its target does not have it", name_)));
  }

  const Api api_;
  const bool json_;
  const MigrateArguments& arguments_;
  std::string uuid_, name_, session_;
  bool paused_ = false, taken_ = true;  ///< taken: its target takes what is sent
  bool alive_ = false;                  ///< its enclaves go with it
  std::string held_;                    ///< this machine's word for that it stands still, with enclaves
  Fd stream_;
  std::chrono::steady_clock::time_point next_look_{};
};

}  // namespace

int migrate(const Common& common, const std::string& domain, const MigrateArguments& arguments) {
  ::signal(SIGPIPE, SIG_IGN);
  if (arguments.cancel) {
    const Api api(common.run_folder);
    const auto answer = api.remove(domain_path(domain, "/migration"));
    if (!answer) return report(answer.error());
    say_that_it_goes_on(api, answer->value("name", domain));
    return 0;
  }
  if (arguments.here && !arguments.resolve)
    return report({"cloister: --here: expected --resolve beside it", exit_status::bad_configuration});
  if (arguments.target.empty() && !arguments.here)
    return report({"cloister: a target is missing: unix:PATH, ssh://[USER@]HOST[:PORT] or tls://HOST:PORT",
                   exit_status::bad_configuration});
  Departure departure(common, arguments);
  const auto done = arguments.resolve ? departure.resolve(domain) : departure.go(domain);
  return done ? 0 : report(done.error());
}

}  // namespace cloister::toolstack::client
