// A disk of a server that says what its requests must be: one of the test's own, which speaks just enough of NBD
// (https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md).
#include "hypervisor/devices/nbd_disk.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <algorithm>
#include <thread>
#include <vector>

namespace cloister::hypervisor {
namespace {

using testing::Each;
using Bytes = std::vector<u8>;

struct Blocks {
  u32 least = 1, preferred = 4096, most = ~u32{0};
};

void put(Bytes& to, u64 value, unsigned bytes) {
  for (unsigned i = bytes; i-- > 0;) to.push_back(static_cast<u8>(value >> (8 * i)));
}

class Server {
 public:
  Server(u64 bytes, const Blocks& blocks) : bytes_(bytes), blocks_(blocks) {
    int ends[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    own_ = Fd(ends[0]);
    client_ = Fd(ends[1]);
    thread_ = std::jthread([this] {
      if (greet()) serve();
    });
  }
  Fd client() { return std::move(client_); }
  /// What the lengths of its reads were; once its client has gone.
  std::vector<u32> reads() {
    thread_.join();
    return reads_;
  }

 private:
  static constexpr u64 option_magic = 0x4948'4156'454f'5054, reply_magic = 0x3e8'8904'5565'a9;
  static constexpr u32 option_go = 7, reply_ack = 1, reply_info = 3, reply_unknown = 0x8000'0001;

  bool get(u64& value, unsigned bytes) {
    u8 raw[8];
    if (::recv(own_.get(), raw, bytes, MSG_WAITALL) != static_cast<ssize_t>(bytes)) return false;
    value = 0;
    for (unsigned i = 0; i < bytes; ++i) value = value << 8 | raw[i];
    return true;
  }
  void say(const Bytes& bytes) { ::send(own_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL); }
  void reply(u64 option, u32 kind, const Bytes& body = {}) {
    Bytes all;
    put(all, reply_magic, 8), put(all, option, 4), put(all, kind, 4), put(all, body.size(), 4);
    all.insert(all.end(), body.begin(), body.end());
    say(all);
  }
  bool greet() {
    Bytes hello;
    constexpr u64 magic = 0x4e42'444d'4147'4943;
    put(hello, magic, 8), put(hello, option_magic, 8), put(hello, 1, 2);
    say(hello);
    u64 any = 0, option = 0, length = 0;
    if (!get(any, 4)) return false;
    while (get(any, 8) && get(option, 4) && get(length, 4)) {
      Bytes data(length);
      if (length != 0 && ::recv(own_.get(), data.data(), length, MSG_WAITALL) != static_cast<ssize_t>(length))
        return false;
      if (option != option_go) {
        reply(option, reply_unknown);
        continue;
      }
      Bytes size, block;
      put(size, 0, 2), put(size, bytes_, 8), put(size, 1, 2);
      put(block, 3, 2), put(block, blocks_.least, 4), put(block, blocks_.preferred, 4), put(block, blocks_.most, 4);
      reply(option, reply_info, size);
      reply(option, reply_info, block);
      reply(option, reply_ack);
      return true;
    }
    return false;
  }
  void serve() {
    u64 magic = 0, flags = 0, type = 0, cookie = 0, offset = 0, length = 0;
    while (get(magic, 4) && get(flags, 2) && get(type, 2) && get(cookie, 8) && get(offset, 8) && get(length, 4)) {
      if (type != 0) return;
      reads_.push_back(static_cast<u32>(length));
      Bytes answer;
      put(answer, 0x6744'6698, 4), put(answer, 0, 4), put(answer, cookie, 8);
      answer.resize(answer.size() + length, 0x5a);
      say(answer);
    }
  }

  const u64 bytes_;
  const Blocks blocks_;
  Fd own_, client_;
  std::vector<u32> reads_;
  std::jthread thread_;
};

tl::expected<std::shared_ptr<NbdDisk>, std::string> disk_of(Server& server) {
  return NbdDisk::create(server.client(), Fd(), false);
}

TEST(NbdDisk, ItsServerSaysWhatABlockIs) {
  Server server(100'000, {.least = 4096, .most = 65'536});
  {
    const auto disk = disk_of(server);
    ASSERT_TRUE(disk) << disk.error();
    EXPECT_EQ((*disk)->block_bytes(), 4096u);
    EXPECT_EQ((*disk)->bytes(), 98'304u) << "whole blocks";
    std::vector<std::byte> read(98'304);
    EXPECT_TRUE((*disk)->read(0, read));
    EXPECT_THAT(read, Each(std::byte{0x5a}));
  }
  EXPECT_THAT(server.reads(), testing::ElementsAre(65'536, 32'768)) << "none is longer than it takes";
}

TEST(NbdDisk, ASmallBlockIsASector) {
  Server server(100'000, {});
  const auto disk = disk_of(server);
  ASSERT_TRUE(disk) << disk.error();
  EXPECT_EQ((*disk)->block_bytes(), 512u);
  EXPECT_EQ((*disk)->bytes(), 99'840u);
}

TEST(NbdDisk, WhatNoGuestCanAskForIsRefused) {
  Server large(1 << 20, {.least = 8192, .preferred = 8192});
  EXPECT_EQ(disk_of(large).error(), "found a server that reads and writes 8192 bytes at least, expected 4096 or less");
  Server small(1000, {.least = 1024});
  EXPECT_EQ(disk_of(small).error(), "found 1000 bytes, expected a sector of 1024 at least");
}

}  // namespace
}  // namespace cloister::hypervisor
