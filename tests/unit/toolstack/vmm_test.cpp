// What daemon and VMM exchange: packets with descriptors, launch messages, the domain's page, the console's hub.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <filesystem>
#include <thread>

#include "host/log.hpp"
#include "host/packet.hpp"
#include "host/unix_socket.hpp"
#include "plan/chosen_silicon.hpp"
#include "protocol/launch.hpp"
#include "vmm/console_hub.hpp"
#include "vmm/lifecycle.hpp"
#include "vmm/run_on.hpp"
#include "vmm/verbs.hpp"

namespace cloister::toolstack {
namespace {

using nlohmann::json;

struct Pair {
  explicit Pair(int type) {
    int ends[2];
    EXPECT_EQ(::socketpair(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends), 0);
    one = Fd(ends[0]);
    other = Fd(ends[1]);
  }
  Fd one, other;
};

std::span<const u8> bytes(std::string_view text) { return {reinterpret_cast<const u8*>(text.data()), text.size()}; }

TEST(Packet, CarriesTextAndDescriptors) {
  const Pair pair(SOCK_SEQPACKET);
  const Fd file = sealed_memfd("test", bytes("inside"));
  const int fds[] = {file.get(), file.get()};
  ASSERT_TRUE(send_packet(pair.one.get(), {{"verb", "x"}}, fds));
  const auto packet = receive_packet(pair.other.get());
  ASSERT_TRUE(packet);
  EXPECT_EQ(packet->body["verb"], "x");
  ASSERT_EQ(packet->descriptors.size(), 2u);
  char text[6];
  EXPECT_EQ(::pread(packet->descriptors[1].get(), text, 6, 0), 6);
  EXPECT_EQ(std::string(text, 6), "inside");
  EXPECT_NE(::fcntl(packet->descriptors[0].get(), F_GETFD) & FD_CLOEXEC, 0);
}

TEST(Packet, RefusesWhatIsNoMessage) {
  const Pair pair(SOCK_SEQPACKET);
  for (const std::string& text : {std::string("{"), std::string("[1]"), std::string(longest_packet + 1, ' ')}) {
    ASSERT_EQ(::send(pair.one.get(), text.data(), text.size(), 0), static_cast<ssize_t>(text.size()));
    const auto packet = receive_packet(pair.other.get());
    ASSERT_FALSE(packet);
    EXPECT_EQ(packet.error(), PacketError::malformed) << text.substr(0, 10);
  }
  EXPECT_EQ(receive_packet(pair.other.get()).error(), PacketError::waits);
  const std::vector<int> many(most_descriptors + 1, 0);
  EXPECT_EQ(send_packet(pair.one.get(), json::object(), many).error(), PacketError::malformed);
}

TEST(Packet, SaysThatTheOtherEndHasGone) {
  Pair pair(SOCK_SEQPACKET);
  pair.one = Fd();
  EXPECT_EQ(receive_packet(pair.other.get()).error(), PacketError::closed);
  EXPECT_EQ(send_packet(pair.other.get(), json::object()).error(), PacketError::closed);
}

TEST(Launch, ComesBackAsItWasWritten) {
  LaunchMessage message{.id = 7,
                        .name = "dom",
                        .config = "name = \"dom\"\n",
                        .file = "dom.cfg",
                        .grants = {{.package = 1, .extents = {{arch::Mfn{0x100000}, 16}, {arch::Mfn{0x200000}, 240}}}},
                        .package = {.launch_control = LaunchControl::locked,
                                    .launch_hash = {{1, 2, 3, ~u64{0}}},
                                    .features = machine_features("skylake-client"),
                                    .faulty = {0x100003}},
                        .engine = Engine::compiler};
  const auto read = read_launch(write_launch(message));
  ASSERT_TRUE(read) << read.error();
  EXPECT_EQ(*read, message);
}

TEST(Launch, NamesWhatIsWrong) {
  const std::string good = write_launch({});
  for (const char* member : {"id", "name", "config", "file", "grants", "package"}) {
    json object = json::parse(good);
    object.erase(member);
    const auto missing = read_launch(object.dump());
    ASSERT_FALSE(missing) << member;
    EXPECT_NE(missing.error().find(member), std::string::npos) << missing.error();
    object[member] = nullptr;
    EXPECT_FALSE(read_launch(object.dump())) << member;
  }
  json object = json::parse(good);
  for (const char* word : {"auto", "checked"}) {
    object["engine"] = word;
    EXPECT_FALSE(read_launch(object.dump())) << word;
  }
  object.erase("engine");
  EXPECT_EQ(read_launch(object.dump())->engine, Engine::interpreter) << "an older daemon's";
}

/// Processors that the host had as the domain was planned may have gone.
TEST(RunOn, StaysWhereItIsIfNoneOfTheProcessorsIsThereAndSaysSo) {
  EXPECT_EXIT(
      {
        set_up_log("test");
        const CpuSet before = cpus_of_thread();
        run_on({8191}, "web");
        const bool stayed = cpus_of_thread() == before;
        run_on({before.front()}, "db");
        ::_exit(stayed && cpus_of_thread() == CpuSet{before.front()} ? 0 : 1);
      },
      testing::ExitedWithCode(0), "^[^\n]*event=cpus-not-there domain=web cpus=8191\n$");
}

TEST(DomainPage, KeepsTheEndOfTheConsole) {
  auto page = DomainPage::create();
  ASSERT_TRUE(page);
  EXPECT_EQ(page->console(), "");
  std::string all;
  for (int i = 0; all.size() < 3 * DomainPageLayout::console_bytes; ++i) {
    const std::string line = "line " + std::to_string(i) + "\n";
    page->append_console(bytes(line));
    all += line;
  }
  EXPECT_EQ(page->console(), all.substr(all.size() - DomainPageLayout::console_bytes));
}

TEST(DomainPage, IsSeenByWhoeverHasTheDescriptor) {
  auto page = DomainPage::create();
  ASSERT_TRUE(page);
  const auto other = DomainPage::adopt(page->descriptor());
  ASSERT_TRUE(other) << other.error();
  EXPECT_EQ(other->state(), DomainState::created);
  EXPECT_FALSE(other->ending());
  page->add_restart();
  page->set_ending(hypervisor::Ending::crashed, std::string(100'000, 'x'));
  EXPECT_EQ(other->state(), DomainState::ended);
  EXPECT_EQ(other->ending(), hypervisor::Ending::crashed);
  EXPECT_EQ(other->restarts(), 1u);
  EXPECT_EQ(other->report().size(), DomainPageLayout::most_report);
}

/// A domain goes on while its daemon is replaced by a later version: its page ends before the pager's counts.
TEST(DomainPage, OfAnEarlierVersionHasNoCountsOfAPager) {
  auto page = DomainPage::create();
  ASSERT_TRUE(page);
  EXPECT_NE(page->epc(), nullptr);
  constexpr std::size_t length = offsetof(DomainPageLayout, epc);
  const Fd earlier = fixed_memfd("earlier", length);
  std::vector<char> bytes(length);
  ASSERT_EQ(::pread(page->descriptor(), bytes.data(), length, 0), static_cast<ssize_t>(length));
  ASSERT_EQ(::pwrite(earlier.get(), bytes.data(), length, 0), static_cast<ssize_t>(length));
  const auto adopted = DomainPage::adopt(earlier.get());
  ASSERT_TRUE(adopted) << adopted.error();
  EXPECT_EQ(adopted->state(), DomainState::created);
  EXPECT_EQ(adopted->epc(), nullptr);
}

/// Of each, as it has been added to.
TEST(DomainPage, OfAnyEarlierVersionIsAdopted) {
  auto page = DomainPage::create();
  ASSERT_TRUE(page);
  for (const std::size_t length :
       {offsetof(DomainPageLayout, epc), offsetof(DomainPageLayout, balloon), offsetof(DomainPageLayout, save),
        offsetof(DomainPageLayout, move), offsetof(DomainPageLayout, devices), offsetof(DomainPageLayout, move_more),
        offsetof(DomainPageLayout, goes_on)}) {
    const Fd earlier = fixed_memfd("earlier", length);
    std::vector<char> bytes(length);
    ASSERT_EQ(::pread(page->descriptor(), bytes.data(), length, 0), static_cast<ssize_t>(length));
    ASSERT_EQ(::pwrite(earlier.get(), bytes.data(), length, 0), static_cast<ssize_t>(length));
    const auto adopted = DomainPage::adopt(earlier.get());
    ASSERT_TRUE(adopted) << length << ": " << adopted.error();
    EXPECT_FALSE(adopted->goes_on());
  }
}

TEST(DomainPage, RefusesMemoryThatCouldShrink) {
  const Fd loose(::memfd_create("loose", MFD_CLOEXEC));
  ASSERT_EQ(::ftruncate(loose.get(), sizeof(DomainPageLayout)), 0);
  EXPECT_FALSE(DomainPage::adopt(loose.get()));
  EXPECT_FALSE(DomainPage::adopt(fixed_memfd("small", 4096).get()));
  EXPECT_FALSE(DomainPage::adopt(fixed_memfd("zeros", sizeof(DomainPageLayout)).get()));
}

TEST(Lifecycle, StartsOnceAndRefusesWhatDoesNotFit) {
  auto page = DomainPage::create();
  ASSERT_TRUE(page);
  Lifecycle lifecycle(*page, "dom");
  VerbContext context{1, lifecycle, *page, {}};
  const auto ask = [&](json request) { return answer(context, {.body = std::move(request), .descriptors = {}}).body; };
  EXPECT_EQ(ask({{"verb", "hello"}})["state"], "created");
  for (const char* verb : {"reboot", "pause", "unpause", "shutdown"})
    EXPECT_TRUE(ask({{"verb", verb}}).contains("error")) << verb;
  EXPECT_TRUE(ask({{"verb", "run"}, {"paused", true}})["ok"]);
  EXPECT_EQ(page->state(), DomainState::paused);
  for (const char* verb : {"run", "pause", "shutdown"}) EXPECT_TRUE(ask({{"verb", verb}}).contains("error")) << verb;
  EXPECT_TRUE(ask({{"verb", "unpause"}})["ok"]);
  lifecycle.wait_for_start();
  EXPECT_TRUE(ask({{"verb", "unpause"}}).contains("error"));
  EXPECT_TRUE(ask({{"verb", "reboot"}})["ok"]);
  EXPECT_TRUE(lifecycle.stop_flag());
  EXPECT_TRUE(ask({{"verb", "reboot"}}).contains("error")) << "one reboot, one success";
  lifecycle.set_domain(nullptr);
  EXPECT_TRUE(lifecycle.take_reboot());
  EXPECT_TRUE(ask({{"verb", "reboot"}}).contains("error")) << "nobody would look at it any more";
  EXPECT_FALSE(lifecycle.stop_flag());
  EXPECT_TRUE(ask({{"verb", "sing"}}).contains("error"));
  EXPECT_EQ(ask({{"verb", "trigger"}, {"trigger", "nmi"}})["error"], "it does not run");
  EXPECT_EQ(ask({{"verb", "trigger"}, {"trigger", "init"}})["error"], "'trigger': expected \"nmi\"");
  EXPECT_TRUE(ask({{"verb", 3}}).contains("error"));
}

TEST(Lifecycle, AWaitBeforeARestartEndsAtAReboot) {
  auto page = DomainPage::create();
  ASSERT_TRUE(page);
  Lifecycle lifecycle(*page, "dom");
  ASSERT_TRUE(lifecycle.run(false));
  lifecycle.set_domain(nullptr);
  const auto wait = [&](auto&& end_it) {
    bool goes_on = false;
    std::thread waits([&] { goes_on = lifecycle.wait_before_restart(std::chrono::hours(1)); });
    end_it();
    waits.join();
    return goes_on;
  };
  EXPECT_TRUE(wait([&] {
    while (page->state() != DomainState::restarting) std::this_thread::yield();
    EXPECT_FALSE(lifecycle.pause());
    while (!lifecycle.reboot()) std::this_thread::yield();  // refused until the wait has begun
  }));
  EXPECT_FALSE(lifecycle.stop_flag());
  EXPECT_FALSE(lifecycle.take_reboot()) << "it was this one";
  EXPECT_FALSE(lifecycle.reboot()) << "nobody would look at it any more";
  EXPECT_FALSE(wait([&] { lifecycle.terminate(); }));
}

TEST(Verbs, LogTakesAPipeThatDoesNotWaitAsStandardError) {
  auto page = DomainPage::create();
  ASSERT_TRUE(page);
  Lifecycle lifecycle(*page, "dom");
  VerbContext context{1, lifecycle, *page, {}};
  const Fd before(::fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3));
  const auto hand_over = [&](int flags) {
    int ends[2];
    EXPECT_EQ(::pipe2(ends, flags), 0);
    Packet packet{.body = {{"verb", "log"}}, .descriptors = {}};
    packet.descriptors.emplace_back(ends[1]);
    const json reply = answer(context, packet).body;
    return std::pair(Fd(ends[0]), reply);
  };
  const auto refused = hand_over(0);
  auto [pipe, reply] = hand_over(O_NONBLOCK);
  char text[6] = {};
  const ssize_t written = ::write(STDERR_FILENO, "hello", 5), got = ::read(pipe.get(), text, 5);
  ASSERT_EQ(::dup2(before.get(), STDERR_FILENO), STDERR_FILENO);
  EXPECT_TRUE(reply["ok"]) << reply;
  EXPECT_EQ(written, 5);
  EXPECT_EQ(got, 5);
  EXPECT_STREQ(text, "hello");
  EXPECT_TRUE(refused.second.contains("error")) << "its writes would wait for the daemon";
  EXPECT_TRUE(answer(context, {.body = {{"verb", "log"}}, .descriptors = {}}).body.contains("error"));
}

// ---- the console's hub, with a thread as the service has it

class Hub : public testing::Test {
 protected:
  Hub() {
    auto listening = listen_at(folder_.get(), name_, SOCK_STREAM, 0600, testing::TempDir());
    EXPECT_TRUE(listening);
    hub_.emplace(*page_, std::move(*listening));
    thread_ = std::thread([this] {
      while (!stop_) {
        auto set = hub_->poll_set();
        ::poll(set.data(), set.size(), 10);
        hub_->serve(set);
      }
    });
  }
  ~Hub() override {
    stop_ = true;
    thread_.join();
    ::unlinkat(folder_.get(), name_.c_str(), 0);
  }
  Fd attach(int receive_buffer = 0) const {
    Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (receive_buffer != 0) ::setsockopt(socket.get(), SOL_SOCKET, SO_SNDBUF, &receive_buffer, sizeof receive_buffer);
    const sockaddr_un address = unix_address(folder_.get(), name_);
    EXPECT_EQ(::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    return socket;
  }
  /// So many bytes, or what comes before the connection ends.
  static std::string receive(const Fd& socket, std::size_t count) {
    std::string text(count, '\0');
    std::size_t filled = 0;
    while (filled < count) {
      const ssize_t got = ::recv(socket.get(), text.data() + filled, count - filled, 0);
      if (got <= 0) break;
      filled += static_cast<std::size_t>(got);
    }
    text.resize(filled);
    return text;
  }

  const Fd folder_{::open(testing::TempDir().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  const std::string name_ = "hub-" + std::to_string(::getpid());
  tl::expected<DomainPage, std::string> page_ = DomainPage::create();
  std::optional<ConsoleHub> hub_;
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

TEST_F(Hub, GivesEachTheHistoryAndThenTheStream) {
  hub_->output(bytes("before "));
  const Fd one = attach();
  EXPECT_EQ(receive(one, 7), "before ");
  hub_->output(bytes("between "));
  const Fd other = attach();
  EXPECT_EQ(receive(other, 15), "before between ");
  hub_->output(bytes("after"));
  EXPECT_EQ(receive(one, 13), "between after");
  EXPECT_EQ(receive(other, 5), "after");
}

TEST_F(Hub, HandsOnWhatIsTyped) {
  const Fd one = attach();
  ASSERT_EQ(::send(one.get(), "keys", 4, 0), 4);
  pollfd wait{.fd = hub_->input(), .events = POLLIN, .revents = 0};
  ASSERT_EQ(::poll(&wait, 1, 10'000), 1);
  char keys[8];
  EXPECT_EQ(::read(hub_->input(), keys, sizeof keys), 4);
}

TEST_F(Hub, DropsWhoDoesNotReadAndNeverWaits) {
  const Fd slow = attach(), good = attach();
  ASSERT_EQ(::send(slow.get(), "!", 1, 0), 1);  // attached for sure once this arrives
  ASSERT_EQ(::send(good.get(), "!", 1, 0), 1);
  for (int arrived = 0; arrived < 2;) {
    pollfd wait{.fd = hub_->input(), .events = POLLIN, .revents = 0};
    ASSERT_EQ(::poll(&wait, 1, 10'000), 1);
    char keys[2];
    arrived += static_cast<int>(::read(hub_->input(), keys, sizeof keys));
  }
  const std::string block(32 << 10, 'x');
  std::size_t sent = 0;
  while (sent < 4 * ConsoleHub::longest_backlog) {
    hub_->output(bytes(block));
    sent += block.size();
    EXPECT_EQ(receive(good, block.size()).size(), block.size());
  }
  EXPECT_LT(receive(slow, sent).size(), sent) << "the connection ends before the stream does";
}

TEST_F(Hub, GoesOnForOneWhoHasEndedWhatItTypes) {
  const Fd one = attach();
  ASSERT_EQ(::send(one.get(), "keys", 4, 0), 4);
  ASSERT_EQ(::shutdown(one.get(), SHUT_WR), 0);
  pollfd wait{.fd = hub_->input(), .events = POLLIN, .revents = 0};
  ASSERT_EQ(::poll(&wait, 1, 10'000), 1);
  char keys[8];
  EXPECT_EQ(::read(hub_->input(), keys, sizeof keys), 4);
  for (const std::string part : {"first ", "second"}) {
    hub_->output(bytes(part));
    EXPECT_EQ(receive(one, part.size()), part);
  }
}

TEST_F(Hub, TellsOneTooMany) {
  hub_->output(bytes("seen"));
  std::vector<Fd> viewers;
  for (std::size_t i = 0; i < ConsoleHub::most_viewers; ++i) {
    viewers.push_back(attach());
    ASSERT_EQ(receive(viewers.back(), 4), "seen");
  }
  EXPECT_NE(receive(attach(), 1000).find("takes no more"), std::string::npos);
  // Those that close make room, also if they had ended their typing before.
  ASSERT_EQ(::shutdown(viewers.front().get(), SHUT_WR), 0);
  viewers.erase(viewers.begin(), viewers.begin() + 2);
  for (int attempts = 0; attempts < 1000; ++attempts) {
    const Fd next = attach();
    if (receive(next, 4) == "seen") return;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  FAIL() << "nobody got in after two had gone";
}

}  // namespace
}  // namespace cloister::toolstack
