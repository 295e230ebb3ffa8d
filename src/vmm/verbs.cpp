// A verb is a row: its name, and the function that does it. Those for the guest have a table of their own.
#include "vmm/verbs.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "host/memfd.hpp"
#include "host/whole_file.hpp"
#include "hypervisor/epc/balloon_counts.hpp"
#include "protocol/epc_frames.hpp"
#include "text/json_fields.hpp"

namespace cloister::toolstack {

namespace {

using nlohmann::json;

json done() { return {{"ok", true}}; }
json error(const std::string& why) { return {{"error", why}}; }
json reply_of(const Lifecycle::Done& result) { return result ? done() : error(result.error()); }

std::optional<vmx::MoveToken> token_in(JsonFields& fields) {
  std::string text;
  if (!fields.text("token", text).ok()) return std::nullopt;
  auto token = read_token(text);
  if (!token) fields.fail("'token': expected 64 hexadecimal digits");
  return token;
}

Reply hello(VerbContext& context, const Packet&) {
  return {{{"ok", true},
           {"id", context.id},
           {"name", context.lifecycle.name()},
           {"pid", ::getpid()},
           {"state", name_of(context.page.state())},
           {"version", control_version}},
          {}};
}

Reply descriptors(VerbContext& context, const Packet&) { return {done(), context.descriptors}; }

Reply run(VerbContext& context, const Packet& request) {
  bool paused = false;
  std::optional<vmx::MoveToken> token;
  JsonFields fields(request.body);
  if (fields.has("paused")) fields.boolean("paused", paused);
  if (fields.has("token")) token = token_in(fields);
  return {fields.ok() ? reply_of(context.lifecycle.run(paused, token)) : error(fields.error()), {}};
}

Reply take_back(VerbContext& context, const Packet& request) {
  JsonFields fields(request.body);
  const auto token = token_in(fields);
  return {fields.ok() ? reply_of(context.lifecycle.take_back(*token)) : error(fields.error()), {}};
}

Reply rename(VerbContext& context, const Packet& request) {
  std::string name;
  JsonFields fields(request.body);
  if (!fields.text("name", name).ok()) return {error(fields.error()), {}};
  context.lifecycle.rename(std::move(name));
  return {done(), {}};
}

Reply status(VerbContext& context, const Packet&) {
  return {{{"ok", true}, {"state", name_of(context.page.state())}, {"restarts", context.page.restarts()}}, {}};
}

Reply lend_epc(VerbContext& context, const Packet& request) {
  u64 section = 0;
  JsonFields fields(request.body);
  if (fields.has("section")) fields.number("section", section, hypervisor::BalloonCounts::most_ranges - 1);
  if (!fields.ok()) return {error(fields.error()), {}};
  const auto frames = read_frames(fields.list("frames"));
  if (!frames) return {error(frames.error()), {}};
  return {reply_of(context.lifecycle.lend_epc(*frames, section)), {}};
}

Reply give_epc(VerbContext& context, const Packet& request) {
  u64 pages = 0;
  JsonFields fields(request.body);
  // So few that others are answered in between.
  fields.number("pages", pages, most_epc_pages);
  const auto of = fields.has("of") ? read_frames(fields.list("of")) : EpcFrames();
  if (!fields.ok()) return {error(fields.error()), {}};
  if (!of) return {error(of.error()), {}};
  const auto frames = context.lifecycle.give_epc_back(pages, *of);
  if (!frames) return {error(frames.error()), {}};
  return {{{"ok", true}, {"frames", frames_json(*frames)}}, {}};
}

Reply held_epc(VerbContext& context, const Packet& request) {
  u64 from = 0;
  JsonFields fields(request.body);
  if (!fields.number("from", from).ok()) return {error(fields.error()), {}};
  auto frames = context.lifecycle.epc_frames();
  if (!frames) return {error(frames.error()), {}};
  std::erase_if(*frames, [from](const vmx::EpcSection& row) { return row.first.value + row.pages <= from; });
  if (!frames->empty() && frames->front().first.value < from) {
    vmx::EpcSection& row = frames->front();
    row = {arch::Mfn{from}, row.first.value + row.pages - from};
  }
  const bool more = frames->size() > most_epc_rows;
  if (more) frames->resize(most_epc_rows);
  return {{{"ok", true}, {"frames", frames_json(*frames)}, {"more", more}}, {}};
}

/// A daemon that was started anew: nobody reads the pipe of the one before.
Reply take_log(VerbContext&, const Packet& request) {
  if (request.descriptors.size() != 1) return {error("one descriptor is wanted"), {}};
  const int pipe = request.descriptors.front().get();
  if ((::fcntl(pipe, F_GETFL) & O_NONBLOCK) == 0) return {error("its writes would wait"), {}};
  if (::dup3(pipe, STDERR_FILENO, O_CLOEXEC) < 0) return {error(std::strerror(errno)), {}};
  return {done(), {}};
}

/// A new daemon may have narrowed who may use the console, whose socket's mode says nothing to those who have
/// connected. This process's user and root are never left out.
Reply keep_viewers(VerbContext& context, const Packet& request) {
  u32 user = 0, group = 0;
  JsonFields fields(request.body);
  fields.number("user", user);
  const bool grouped = fields.has("group");
  if (grouped) fields.number("group", group);
  if (!fields.ok()) return {error(fields.error()), {}};
  if (context.hub != nullptr)
    context.hub->keep([&](const Peer& peer) {
      return peer.uid == user ||
             (grouped && (peer.gid == group || std::ranges::find(peer.groups, group) != peer.groups.end()));
    });
  return {done(), {}};
}

Reply save(VerbContext& context, const Packet& request, AfterSave then) {
  if (context.saver == nullptr) return {error("it cannot be saved"), {}};
  if (request.descriptors.size() != 2) return {error("a file and an order are wanted"), {}};
  // It does not change any more, so nobody makes this thread wait for it.
  const int memory = request.descriptors[1].get();
  const auto bytes =
      is_sealed_memfd(memory) ? read_within(memory, longest_own) : tl::unexpected(std::string("no order"));
  if (!bytes) return {error(bytes.error()), {}};
  auto order = read_order(*bytes);
  if (!order) return {error(order.error()), {}};
  Fd file(::fcntl(request.descriptors[0].get(), F_DUPFD_CLOEXEC, 0));
  if (!file) return {error(std::strerror(errno)), {}};
  return {reply_of(context.saver->start(std::move(file), std::move(*order), context.ram, then)), {}};
}

Reply save(VerbContext& context, const Packet& request) { return save(context, request, AfterSave::ends); }

/// A verb of its own: an earlier VMM does not know it, and would end.
Reply snapshot(VerbContext& context, const Packet& request) { return save(context, request, AfterSave::goes_on); }

/// By what a domain's target knows that it has the same disks.
Reply disks(VerbContext& context, const Packet&) {
  if (context.mover == nullptr) return {error("it cannot be moved"), {}};
  json all = json::array();
  for (const DiskLocks::Marked& disk : context.mover->disks().marks()) {
    json one{{"vdev", disk.vdev}};
    if (disk.mark) {
      one["mark"] = disk.mark->byte;
      one["bytes"] = disk.mark->bytes;
    } else {
      one["stays"] = disk.mark.error();
    }
    all.push_back(std::move(one));
  }
  return {{{"ok", true}, {"disks", std::move(all)}}, {}};
}

Reply begin_move(VerbContext& context, const Packet& request) {
  if (context.mover == nullptr) return {error("it cannot be moved"), {}};
  if (request.descriptors.empty() || request.descriptors.size() > 2)
    return {error("a socket is wanted, and with its enclaves an order"), {}};
  std::optional<MoveOrder> enclaves;
  if (request.descriptors.size() == 2) {
    const int memory = request.descriptors[1].get();
    const auto bytes =
        is_sealed_memfd(memory) ? read_within(memory, longest_own) : tl::unexpected(std::string("no order"));
    auto order = bytes ? read_move_order(*bytes) : tl::unexpected(bytes.error());
    if (!order) return {error(order.error()), {}};
    enclaves = std::move(*order);
  }
  std::string session;
  MoveLimits limits;
  JsonFields fields(request.body);
  fields.text("session", session).number("downtime", limits.downtime_ms, MoveLimits::longest_downtime_ms);
  fields.number("bandwidth", limits.bandwidth_mib);
  if (fields.ok() && !is_move_session(session)) fields.fail("'session': not a move's");
  if (!fields.ok()) return {error(fields.error()), {}};
  Fd socket(::fcntl(request.descriptors.front().get(), F_DUPFD_CLOEXEC, 0));
  if (!socket) return {error(std::strerror(errno)), {}};
  return {reply_of(context.mover->start(std::move(socket), session, limits, enclaves)), {}};
}

Reply hold_move(VerbContext& context, const Packet& request) {
  std::string session;
  JsonFields fields(request.body);
  if (!fields.text("session", session).ok()) return {error(fields.error()), {}};
  if (context.mover == nullptr) return {error("it cannot be moved"), {}};
  json reply = reply_of(context.mover->hold(session));
  if (reply.contains("ok")) reply["paused"] = context.lifecycle.was_paused();
  return {std::move(reply), {}};
}

Reply stay(VerbContext& context, const Packet& request) {
  bool cancel = false;
  JsonFields fields(request.body);
  std::optional<vmx::MoveToken> token;
  if (fields.has("cancel")) fields.boolean("cancel", cancel);
  if (fields.has("token")) token = token_in(fields);
  if (!fields.ok()) return {error(fields.error()), {}};
  if (context.mover == nullptr) return {error("it cannot be moved"), {}};
  return {reply_of(context.mover->end(cancel, token)), {}};
}

Reply start_over(VerbContext& context, const Packet& request) {
  if (context.mover == nullptr || request.descriptors.size() != 1) return {error("secrets are wanted"), {}};
  const int memory = request.descriptors.front().get();
  const auto bytes =
      is_sealed_memfd(memory) ? read_within(memory, longest_own) : tl::unexpected(std::string("no secrets"));
  const auto secrets = bytes ? read_platform_secrets(*bytes) : tl::unexpected(bytes.error());
  return {secrets ? reply_of(context.mover->start_over(*secrets)) : error(secrets.error()), {}};
}

struct Verb {
  std::string_view name;
  Reply (*act)(VerbContext&, const Packet&);
};
constexpr Verb verbs[] = {{"hello", hello},
                          {"descriptors", descriptors},
                          {"run", run},
                          {"rename", rename},
                          {"status", status},
                          {"log", take_log},
                          {"viewers", keep_viewers},
                          {"epc-lend", lend_epc},
                          {"epc-give", give_epc},
                          {"epc-held", held_epc},
                          {"save", save},
                          {"snapshot", snapshot},
                          {"take-back", take_back},
                          {"disks", disks},
                          {"move", begin_move},
                          {"move-hold", hold_move},
                          {"move-end", stay},
                          {"move-start-over", start_over}};

}  // namespace

Reply answer(VerbContext& context, const Packet& request) {
  std::string name;
  JsonFields fields(request.body);
  if (!fields.text("verb", name).ok()) return {error(fields.error()), {}};
  if (const GuestVerbRow* row = find_guest_verb(name)) {
    const json arguments = read_arguments(*row, fields);
    return {fields.ok() ? reply_of(context.lifecycle.ask(row->verb, arguments)) : error(fields.error()), {}};
  }
  const auto verb = std::ranges::find(verbs, name, &Verb::name);
  if (verb == std::end(verbs)) return {error("unknown verb '" + name + "'"), {}};
  return verb->act(context, request);
}

}  // namespace cloister::toolstack
