// Paths of strangers at which there is no file of the kind that is wanted.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "host/whole_file.hpp"
#include "run/gdb_socket.hpp"
#include "text/control.hpp"
#include "text/shown.hpp"
#include "unit/toolstack/run_cloister.hpp"

namespace cloister::toolstack {
namespace {

/// A socket at a path, which listens or does not.
Fd bound(const std::string& path, bool listens) {
  Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  EXPECT_EQ(::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  if (listens) {
    EXPECT_EQ(::listen(fd.get(), 1), 0);
  }
  return fd;
}

TEST(ReadRegular, WaitsForNobody) {
  const tests::Folder folder;
  ASSERT_EQ(::mkfifo(folder.path("fifo").c_str(), 0600), 0);
  const Fd socket = bound(folder.path("socket"), true);
  for (const std::string& path : {folder.path(), folder.path("fifo"), folder.path("socket"), std::string("/dev/zero"),
                                  std::string("/dev/null")}) {
    const auto bytes = read_regular(path, 1 << 20);
    ASSERT_FALSE(bytes) << path;
    EXPECT_EQ(bytes.error(), "not a regular file") << path;
  }
  EXPECT_EQ(read_regular(folder.write("file", "text"), 4)->size(), 4u);
  EXPECT_EQ(read_regular(folder.path("file"), 3).error(), "found 4 bytes, which is longer than 3 bytes");
}

TEST(ReadWithin, EndsAtItsLimit) {
  EXPECT_EQ(read_within("/dev/zero", 1 << 20).error(), "found more than 1 MiB");
  EXPECT_EQ(read_within("/dev/null", 1)->size(), 0u);
}

TEST(GdbSocket, IsTheRunsOwn) {
  const tests::Folder folder;
  const std::string path = folder.path("s");
  EXPECT_EQ(GdbSocket::listen("/nonexistent/s").error(), "gdb socket /nonexistent/s: No such file or directory");
  EXPECT_THAT(GdbSocket::listen(std::string(200, 'x')).error(), testing::HasSubstr("File name too long"));
  EXPECT_THAT(GdbSocket::listen(folder.write("file", "")).error(), testing::HasSubstr("Address already in use"));
  {
    const Fd others = bound(path, true);
    EXPECT_THAT(GdbSocket::listen(path).error(), testing::HasSubstr("somebody may listen"));
    EXPECT_TRUE(std::filesystem::is_socket(path));
  }
  {
    const auto ours = GdbSocket::listen(path);
    ASSERT_TRUE(ours) << "the old one's owner is gone: " << ours.error();
  }
  EXPECT_FALSE(std::filesystem::exists(path));
  {
    const auto ours = GdbSocket::listen(path);
    ASSERT_TRUE(ours);
    std::filesystem::rename(path, folder.path("elsewhere"));
    const Fd others = bound(path, true);
  }
  EXPECT_TRUE(std::filesystem::is_socket(path)) << "it is another's now";
}

TEST(Printable, IsWhatATerminalShows) {
  EXPECT_EQ(printable("caf\xc3\xa9 \xe2\x82\xac"), "caf\xc3\xa9 \xe2\x82\xac");
  EXPECT_EQ(printable("a\tb\x1b[31m\x7f"), "a?b?[31m?");
  EXPECT_EQ(printable("\x9b"
                      "31m\xff\xe2\x82"),
            "\\x9b31m\\xff\\xe2\\x82");
  EXPECT_EQ(printable("\xc2\x9b"
                      "31m\xc2\xa0"),
            "?31m\xc2\xa0");
}

TEST(FindControl, SaysWhereAndWhat) {
  EXPECT_FALSE(find_control("a\tb\r\nc \xc3\xa9\n", "text"));
  EXPECT_EQ(find_control("ab\nc\x1f", "text"), (Diagnostic{{2, 2}, "found byte 0x1f, expected text"}));
  EXPECT_EQ(find_control({"a\0b", 3}, "text"), (Diagnostic{{1, 2}, "found byte 0x00, expected text"}));
  EXPECT_FALSE(find_control({"a\0b", 3}, "text", true));
}

}  // namespace
}  // namespace cloister::toolstack
