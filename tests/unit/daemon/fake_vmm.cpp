// One thread, which takes one request after the other.
#include "unit/daemon/fake_vmm.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <optional>

#include "arch/sizes.hpp"
#include "host/files.hpp"
#include "host/packet.hpp"
#include "host/whole_file.hpp"
#include "hypervisor/epc/pager/frame_set.hpp"
#include "protocol/control.hpp"
#include "protocol/domain_page.hpp"
#include "protocol/epc_frames.hpp"
#include "protocol/launch.hpp"
#include "protocol/saving.hpp"
#include "silicon/backend.hpp"
#include "stream/reader.hpp"
#include "stream/writer.hpp"

namespace cloister::tests {

namespace {

using namespace toolstack;
using nlohmann::json;

constexpr int by_itself = 3;  ///< the exit status of one that dies
/// Of one that a test forgot.
constexpr unsigned longest_life_s = 300;

/// Longer than the daemon of a test waits that is not to see it.
constexpr useconds_t late_us = 300'000;

class FakeVmm {
 public:
  FakeVmm(LaunchMessage launch, DomainPage page)
      : launch_(std::move(launch)),
        page_(std::move(page)),
        word_(word_in(launch_.config)),
        held_(sections_of(launch_.grants)) {
    page_.balloon()->start(sees_);
    for (std::size_t i = 0; i < launch_.grants.size(); ++i) {
      sections_.emplace_back(launch_.grants[i].extents);
      page_.balloon()->needs[i] = sections_.back().pages();
    }
  }

  int run() {
    if (word_ == "dies") return by_itself;
    tell_keys();
    if (::listen(launch_fd::control, SOMAXCONN) != 0) return 1;
    while (!status_) serve();
    return *status_;
  }

 private:
  static std::string word_in(const std::string& config) {
    constexpr std::string_view start = "# vmm: ";
    const std::size_t at = config.find(start);
    if (at == std::string::npos) return {};
    return config.substr(at + start.size(), config.find('\n', at) - at - start.size());
  }

  void tell_keys() const {
    std::ofstream to(keys_file(launch_.file, launch_.name));
    const auto secrets = read_within(launch_fd::keys, longest_own);
    const auto counters = silicon::backend().adopt_counters(launch_fd::counters);
    if (!secrets || !counters) {
      to << (secrets || counters ? "half" : "none");
      return;
    }
    for (std::size_t i = 0; i < secrets->size(); ++i)
      to << (i == sizeof(Secret) ? " " : "") << fmt::format("{:02x}", (*secrets)[i]);
    to << ' ' << (*counters)->boot();
  }

  void serve() {
    std::vector<pollfd> set{{.fd = launch_fd::control, .events = POLLIN, .revents = 0}};
    for (const Fd& one : connections_) set.push_back({.fd = one.get(), .events = POLLIN, .revents = 0});
    // One that wants EPC pages all the time.
    const bool wants = word_.starts_with("wants");
    if (wants) page_.epc()->loads += 100;
    page_.epc()->active = wants ? held_.pages() : 0;
    if (::poll(set.data(), set.size(), wants ? 20 : -1) < 0) return;
    for (std::size_t i = connections_.size(); i-- > 0;) {
      if (set[i + 1].revents != 0 && !take(connections_[i])) hang_up(i);
    }
    if (set[0].revents != 0) connections_.emplace_back(::accept4(launch_fd::control, nullptr, nullptr, SOCK_CLOEXEC));
  }

  /// The first connection is the launching one.
  void hang_up(std::size_t i) {
    if (i == 0 && !running_ && !status_) status_ = 0;
    connections_[i] = Fd();
  }

  /// False: the connection is over.
  bool take(const Fd& from) {
    const auto packet = receive_packet(from.get());
    if (!packet) return false;
    const std::string verb = packet->body.value("verb", "");
    if (verb == "hello") return hello(from);
    if (verb == "run") return start(from);
    if (verb == "descriptors") return hand_over(from);
    if (verb == "save") return save(from, *packet, AfterSave::ends);
    if (verb == "snapshot") return save(from, *packet, AfterSave::goes_on);
    if (verb == "epc-lend") return take_frames(from, packet->body);
    if (verb == "epc-give") return give_frames(from, packet->body);
    if (verb == "epc-held") return tell_frames(from);
    if (verb == "epc-target") follow(packet->body.value("mib", u64{0}) * arch::pages_per_mib);
    return send_packet(from.get(), {{"ok", true}}).has_value();
  }

  bool fixed() const { return word_.starts_with("balloon"); }

  /// "balloon": its guest has what it is asked to have at once, as far as it can.
  void follow(u64 target) {
    if (!fixed()) return;
    page_.balloon()->target = page_.balloon()->needs[0] = target;
    balloon();
  }

  void balloon() { page_.balloon()->given = sees_ - std::min(page_.balloon()->target.load(), held_.pages()); }

  /// "wants-deaf": it hangs up, and has not got them.
  bool take_frames(const Fd& from, const json& request) {
    if (word_ == "wants-deaf" || word_ == "balloon-deaf") return false;
    const auto frames = read_frames(request["frames"]);
    hypervisor::FrameSet& section = sections_.at(request.value("section", std::size_t{0}));
    for (const vmx::EpcSection& row : frames.value()) {
      held_.add(row);
      section.add(row);
    }
    if (fixed()) balloon();
    return send_packet(from.get(), {{"ok", true}}).has_value();
  }

  /// "liar": it gives all that there is of the machine's, "gives-and-hangs-up": it gives, and nobody hears of it.
  bool give_frames(const Fd& to, const json& request) {
    const u64 pages = request.value("pages", u64{0});
    const EpcFrames of = request.contains("of") ? read_frames(request["of"]).value() : EpcFrames();
    EpcFrames given;
    if (word_ == "liar") given = launch_.package.range;
    hypervisor::FrameSet back;
    for (std::size_t i = 0; i < sections_.size() && word_ != "liar"; ++i) {
      const u64 least = fixed() ? page_.balloon()->needs[i].load() : arch::pages_per_mib;
      while (back.pages() < pages && sections_[i].pages() > least) {
        const vmx::EpcSection last = sections_[i].sections().back();
        const arch::Mfn frame = last.first + (last.pages - 1);
        if (!hypervisor::lies_in(of, frame)) break;
        sections_[i].remove(frame);
        held_.remove(frame);
        back.add({frame, 1});
      }
    }
    if (word_ != "liar") given = back.sections();
    if (fixed()) balloon();
    if (!fixed()) page_.epc()->evictions += back.pages();
    if (word_ == "gives-and-hangs-up") return false;
    return send_packet(to.get(), {{"ok", true}, {"frames", frames_json(given)}}).has_value();
  }

  bool tell_frames(const Fd& to) {
    return send_packet(to.get(), {{"ok", true}, {"frames", frames_json(held_.sections())}, {"more", false}})
        .has_value();
  }

  /// "save-refused": it does not begin; "save-late": not in time; "save-answers-late": it does, and is late to say so;
  /// "save-fails": it goes on; "save-dies"; "save-waits": until it is ended; "save-whole": likewise, when all is there.
  bool save(const Fd& to, const Packet& request, AfterSave then) {
    if (word_ == "save-refused") return send_packet(to.get(), {{"error", "it is not to be saved"}}).has_value();
    const auto bytes = read_within(request.descriptors.at(1).get(), longest_own);
    const auto order = read_order(bytes.value()).value();
    if (word_ == "save-late") ::usleep(late_us);
    page_.start_save(16 << 20);
    if (!page_.take_save(order.offer())) {
      (void)send_packet(to.get(), {{"error", "it comes too late"}});
      return true;
    }
    page_.set_state(DomainState::saving);
    if (word_ == "save-answers-late") ::usleep(late_us);
    if (!send_packet(to.get(), {{"ok", true}}) && word_ != "save-answers-late") return false;
    saved_ = Fd(::fcntl(request.descriptors[0].get(), F_DUPFD_CLOEXEC, 0));
    if (word_ == "save-waits") return true;
    stream::Sealer sealer(
        [&](std::span<const u8> part) -> stream::Result<void> {
          if (!write_all(request.descriptors[0].get(), part)) return tl::unexpected(std::string("no room"));
          page_.save()->bytes += part.size();
          return {};
        },
        order.key, order.id);
    stream::Writer writer(sealer.sink());
    if (!writer.value(config_kind(false, then), order.config)) return false;
    if (word_ == "save-dies") status_ = by_itself;
    if (word_ == "save-fails") {
      page_.fail_save("no room is left");
      page_.set_state(DomainState::running);
    }
    if (word_ == "save-dies" || word_ == "save-fails") return true;
    if (!writer.end() || !sealer.finish()) return false;
    if (word_ == "save-whole") return true;
    if (then == AfterSave::goes_on) {
      page_.set_state(DomainState::running);
      return true;
    }
    page_.set_ending(hypervisor::Ending::saved, "");
    status_ = 0;
    return true;
  }

  /// Why it cannot go on from what it was given.
  static std::string cannot_go_on() {
    const auto bytes = read_within(launch_fd::order, longest_own);
    const auto order = bytes ? read_order(*bytes) : tl::unexpected(bytes.error());
    if (!order) return order.error();
    stream::Reader reader(stream::unsealed(
        [](std::span<u8> to) -> stream::Result<std::size_t> {
          return static_cast<std::size_t>(std::max<ssize_t>(::read(launch_fd::saved, to.data(), to.size()), 0));
        },
        order->key));
    const auto config = reader.next();
    if (!config) return config.error();
    if (!is_config(config->kind)) return "no config";
    if (const auto end = reader.next(stream::Kind::end); !end) return end.error();
    const auto whole = reader.finish();
    return whole ? std::string() : whole.error();
  }

  bool hello(const Fd& to) {
    if (word_ == "mute") return true;
    if (const std::string why = launch_.goes_on ? cannot_go_on() : std::string(); !why.empty()) {
      status_ = 1;
      return send_packet(to.get(), {{"error", why}}).has_value();
    }
    if (word_ == "dies-at-hello") status_ = by_itself;
    if (word_ == "answers-when-gone") return answer_when_gone(to);
    if (word_ == "refuses") {
      status_ = 1;
      const json why{{"error", "no such guest"}, {"file", launch_.file}, {"line", 4}, {"column", 2}};
      return send_packet(to.get(), why).has_value();
    }
    if (status_) return false;
    if (word_ == "dies-after-hello") status_ = by_itself;
    return send_packet(to.get(), {{"ok", true}}).has_value();
  }

  /// By a process that outlives this one, as soon as the domain's folder is away.
  bool answer_when_gone(const Fd& to) {
    status_ = by_itself;
    if (::fork() != 0) return true;
    ::alarm(longest_life_s);
    const auto folder = std::filesystem::path(launch_.file).parent_path() / "run/domains" / std::to_string(launch_.id);
    while (std::filesystem::exists(folder)) ::usleep(1000);
    (void)send_packet(to.get(), {{"ok", true}});
    ::_exit(0);
  }

  bool start(const Fd& to) {
    if (word_ == "dies-at-run") status_ = by_itself;
    if (word_ == "runs-late") {
      while (!std::filesystem::exists(run_file(launch_.file))) ::usleep(1000);
    }
    if (status_) return false;
    running_ = true;
    page_.set_state(DomainState::running);
    if (!send_packet(to.get(), {{"ok", true}})) return false;
    if (word_ == "ends") {
      page_.set_ending(hypervisor::Ending::halted, "");
      status_ = 0;
    }
    return true;
  }

  bool hand_over(const Fd& to) {
    if (std::filesystem::exists(mute_file(launch_.file))) return false;
    std::vector<int> descriptors{launch_fd::page};
    if (word_ == "older") descriptors.insert(descriptors.begin(), launch_fd::counters);
    if (!launch_.grants.empty()) descriptors.insert(descriptors.end(), {launch_fd::epc, launch_fd::epcm});
    return send_packet(to.get(), {{"ok", true}}, descriptors).has_value();
  }

  const LaunchMessage launch_;
  DomainPage page_;
  const std::string word_;
  hypervisor::FrameSet held_;
  std::vector<hypervisor::FrameSet> sections_{};  ///< what is held, of each section
  const u64 sees_ = held_.pages();
  std::vector<Fd> connections_;
  Fd saved_;  ///< what it is saved in
  bool running_ = false;
  std::optional<int> status_;
};

}  // namespace

bool is_vmm(const char* title) { return std::string_view(title).starts_with("cloister-vmm of domain"); }

int run_fake_vmm() {
  ::alarm(longest_life_s);
  // The test may have lowered its own.
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
  const auto text = read_within(launch_fd::message, longest_own);
  if (!text) return 1;
  auto launch = read_launch({reinterpret_cast<const char*>(text->data()), text->size()});
  auto page = DomainPage::adopt(launch_fd::page);
  if (!launch || !page) return 1;
  return FakeVmm(std::move(*launch), std::move(*page)).run();
}

}  // namespace cloister::tests
