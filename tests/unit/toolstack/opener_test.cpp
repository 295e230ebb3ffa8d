// Files are opened by a process that has the owner's rights and nothing else; what no name may lead to, and what a
// name that changes meanwhile comes to.
#include "daemon/opener.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <atomic>
#include <thread>

#include "host/memfd.hpp"
#include "host/whole_file.hpp"
#include "stream/sealing.hpp"
#include "unit/toolstack/run_cloister.hpp"

namespace cloister::toolstack {
namespace {

using ::testing::HasSubstr;

constexpr u64 most = 1 << 20;
/// A user without rights, whose groups are nobody else's either.
const Owner stranger{.user = 54321, .group = 54321, .groups = {54322, 54323}};

class Opener : public testing::Test {
 protected:
  Opener() { std::filesystem::permissions(folder_.path(), std::filesystem::perms(0755)); }

  static bool root() { return ::geteuid() == 0; }
  /// Whom this process can open files for in any case.
  static Owner anybody() { return root() ? stranger : own_user(); }

  std::string text(const Owner& owner, const std::string& path) {
    const auto bytes = opener_.read(owner, path, most);
    return bytes ? std::string(bytes->begin(), bytes->end()) : "ERROR: " + bytes.error();
  }
  /// Why it is refused, both ways; empty: it is not.
  std::string refusal(const Owner& owner, const std::string& path) {
    const auto fd = opener_.open(owner, path);
    const auto bytes = opener_.read(owner, path, most);
    EXPECT_EQ(fd.has_value(), bytes.has_value()) << path;
    return fd ? "" : fd.error();
  }
  std::string file(const std::string& name, const std::string& text, mode_t mode, unsigned user = 0,
                   unsigned group = 0) const {
    const std::string path = folder_.write(name, text);
    EXPECT_EQ(::chmod(path.c_str(), mode), 0);
    if (root()) {
      EXPECT_EQ(::chown(path.c_str(), user, group), 0);
    }
    return path;
  }

  tests::Folder folder_;
  FileOpener opener_{CLOISTER_BINARY_DIR "/bin/cloisterd"};
};

TEST_F(Opener, OpensRegularFilesForReading) {
  const std::string path = file("kernel", "bytes", 0644);
  const auto fd = opener_.open(anybody(), path);
  ASSERT_TRUE(fd) << fd.error();
  char bytes[8];
  EXPECT_EQ(::read(fd->get(), bytes, sizeof bytes), 5);
  EXPECT_EQ(::write(fd->get(), "x", 1), -1);
  EXPECT_NE(::fcntl(fd->get(), F_GETFD) & FD_CLOEXEC, 0);
  EXPECT_EQ(text(anybody(), path), "bytes");
  ASSERT_EQ(::symlink(path.c_str(), folder_.path("link").c_str()), 0);
  EXPECT_EQ(text(anybody(), folder_.path("link")), "bytes") << "a link of the owner's own is followed";
}

TEST_F(Opener, SaysADigestOfWhatItsOwnerMayRead) {
  const std::string path = file("kernel", std::string("\1\2"), 0644);
  const auto digest = opener_.digest(anybody(), path, 2);
  ASSERT_TRUE(digest) << digest.error();
  EXPECT_EQ(digest->sha256, "a12871fee210fb8619291eaea194581cbd2531e4b23759d225f6806923f63222");
  EXPECT_EQ(digest->bytes, 2u);
  EXPECT_EQ(opener_.digest(anybody(), path, 1).error(), "it has more than 1 bytes");
  EXPECT_EQ(opener_.digest(anybody(), "kernel", most).error(), "not an absolute path");
  EXPECT_TRUE(!root() || !opener_.digest(stranger, file("secret", "x", 0600), most));
}

TEST_F(Opener, RefusesWhatIsNoRegularFile) {
  ASSERT_EQ(::mkfifo(folder_.path("fifo").c_str(), 0666), 0);
  ASSERT_EQ(::mkdir(folder_.path("folder").c_str(), 0755), 0);
  const Fd folder(::open(folder_.path("").c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  const auto socket = listen_at(folder.get(), "socket", SOCK_STREAM, 0666, folder_.path(""));
  ASSERT_TRUE(socket);
  for (const std::string& path : {folder_.path("fifo"), folder_.path("folder"), folder_.path("socket"),
                                  std::string("/dev/zero"), std::string("/dev/tty"), std::string("/dev/null")})
    EXPECT_THAT(refusal(anybody(), path), testing::AnyOf(HasSubstr("not a regular file"), HasSubstr("No such")))
        << path;
  EXPECT_THAT(refusal(anybody(), folder_.path("none")), HasSubstr("No such file"));
  EXPECT_THAT(refusal(anybody(), "etc/hostname"), HasSubstr("absolute"));
  EXPECT_THAT(refusal(anybody(), std::string("/etc/hostname\0.elf", 18)), HasSubstr("absolute"));
}

TEST_F(Opener, OpensDisksForTheirUseAndLocksThem) {
  const unsigned owner = anybody().user, group = anybody().group;
  const std::string path = file("disk", std::string(512, 'd'), 0600, owner, group);
  const auto open = [&](DiskUse use, DiskLock lock) { return opener_.open_disk(anybody(), path, use, lock); };
  const auto first = open(DiskUse::write, DiskLock::yes);
  ASSERT_TRUE(first) << first.error().message;
  EXPECT_EQ(::pwrite(first->fd.get(), "x", 1, 0), 1);
  EXPECT_EQ(first->identity, identity_of_disk(first->fd.get()));
  EXPECT_EQ(open(DiskUse::read, DiskLock::yes).error().in_use, first->identity);
  const auto unlocked = open(DiskUse::read, DiskLock::no);
  ASSERT_TRUE(unlocked) << unlocked.error().message;
  EXPECT_EQ(::pwrite(unlocked->fd.get(), "x", 1, 0), -1);

  EXPECT_EQ(opener_.open_disk(anybody(), folder_.path(""), DiskUse::read, DiskLock::yes).error().message,
            "neither a regular file nor a block device");
  EXPECT_EQ(opener_.open_disk(anybody(), "disk", DiskUse::read, DiskLock::yes).error().message, "not an absolute path");
  const std::string others = file("others", std::string(512, 'd'), 0644);
  if (root()) {
    EXPECT_EQ(opener_.open_disk(stranger, others, DiskUse::write, DiskLock::yes).error().message, "Permission denied");
  }
  EXPECT_TRUE(opener_.open_disk(anybody(), others, DiskUse::read, DiskLock::yes));
}

/// As it is opened for a domain that arrives.
TEST_F(Opener, OpensWhatLiesBelowAFolderByNoLink) {
  const unsigned owner = anybody().user, group = anybody().group;
  std::filesystem::create_directories(folder_.path("vm/deep"));
  const std::string image = file("vm/deep/disk", std::string(1024, 'd'), 0600, owner, group);
  file("outside", std::string(1024, 'd'), 0666, owner, group);
  std::filesystem::create_symlink("deep/disk", folder_.path("vm/link"));
  std::filesystem::create_symlink("deep", folder_.path("vm/folder"));
  std::filesystem::create_symlink(folder_.path("vm"), folder_.path("elsewhere"));
  const auto why = [&](const std::string& path, DiskBounds bounds = {}) {
    if (bounds.folder.empty()) bounds.folder = folder_.path("elsewhere");
    const auto disk = opener_.open_disk(anybody(), path, DiskUse::write, DiskLock::no, "raw", {}, bounds);
    return disk ? "" : disk.error().message;
  };
  EXPECT_EQ(why("deep/disk"), "");
  EXPECT_EQ(why("link"), "it leads through a link, which none does on a storage");
  EXPECT_EQ(why("folder/disk"), "it leads through a link, which none does on a storage");
  EXPECT_EQ(why("../outside"), "it leads out of its storage");
  EXPECT_EQ(why("deep/../../outside"), "it leads out of its storage");
  EXPECT_EQ(why(folder_.path("outside")), "it leads out of its storage");
  EXPECT_EQ(why("deep"), "Is a directory");
  EXPECT_EQ(why("disk", {.folder = folder_.path("none")}),
            "the storage's folder '" + folder_.path("none") + "': No such file or directory");
  // Which file it is.
  const Fd holder(::open(image.c_str(), O_RDWR | O_CLOEXEC));
  const auto byte = mark_disk(holder.get(), 12345);
  ASSERT_TRUE(byte) << byte.error();
  EXPECT_EQ(why("deep/disk", {.mark = DiskMark{*byte, 1024}}), "");
  EXPECT_EQ(why("deep/disk", {.mark = DiskMark{*byte, 1000}}), "") << "a part of a sector is none of the disk's";
  EXPECT_EQ(why("deep/disk", {.mark = DiskMark{*byte, 2048}}), "found 1024 bytes, expected 2048, which its source has");
  EXPECT_EQ(why("deep/disk", {.mark = DiskMark{*byte, 512}}), "found 1024 bytes, expected 512, which its source has");
  EXPECT_THAT(why("deep/disk", {.mark = DiskMark{*byte + 1, 1024}}), HasSubstr("another file of that name"));
  std::filesystem::copy_file(image, folder_.path("vm/copy"));
  file("vm/copy", std::string(1024, 'd'), 0600, owner, group);
  EXPECT_THAT(why("copy", {.mark = DiskMark{*byte, 1024}}), HasSubstr("another file of that name"));
}

// A descriptor of this process, as the daemon has one of each domain's EPC, by every name that leads to it.
TEST_F(Opener, NoNameLeadsIntoAProcess) {
  const std::string secret = "another domain's";
  const Fd memory = sealed_memfd("epc", {reinterpret_cast<const u8*>(secret.data()), secret.size()});
  const std::string self = std::to_string(::getpid()), number = std::to_string(memory.get());
  const std::string plain = file("plain", "bytes", 0644);
  for (const Owner& owner : {anybody(), own_user()}) {
    for (int fd = 0; fd < 16; ++fd) {
      EXPECT_THAT(refusal(owner, "/proc/self/fd/" + std::to_string(fd)),
                  testing::AnyOf(HasSubstr("into a process"), HasSubstr("No such file")));
    }
    const std::vector<std::string> paths = {"/proc/" + self + "/fd/" + number,
                                            "/proc/" + self + "/task/" + self + "/fd/" + number,
                                            "/proc/" + self + "/root" + plain,
                                            "/proc/self/root" + plain,
                                            "/proc/thread-self/fd/0",
                                            "/proc/" + self + "/cwd/../" + plain,
                                            "/proc/self/cwd/" + plain,
                                            "/proc/self/exe",
                                            "/dev/fd/0",
                                            "/dev/stdin",
                                            "/dev/fd/" + number};
    for (const std::string& path : paths) {
      EXPECT_NE(refusal(owner, path), "") << path;
      ::unlink(folder_.path("link").c_str());
      ASSERT_EQ(::symlink(path.c_str(), folder_.path("link").c_str()), 0);
      EXPECT_NE(refusal(owner, folder_.path("link")), "") << "a link to " << path;
    }
  }
}

TEST_F(Opener, HasTheOwnersRightsAndNoOthers) {
  if (!root()) GTEST_SKIP() << "only root takes other users' rights on";
  const std::string roots = file("roots", "bytes", 0600);
  EXPECT_THAT(refusal(stranger, roots), HasSubstr("Permission denied"));
  EXPECT_EQ(text(own_user(), roots), "bytes");
  EXPECT_EQ(text({.user = 0, .group = 0, .groups = {}}, file("theirs", "bytes", 0600, stranger.user)), "bytes");
  const std::string groups = file("groups", "bytes", 0640, 0, 54323);
  EXPECT_EQ(text(stranger, groups), "bytes") << "a supplementary group's";
  EXPECT_NE(refusal({.user = 54321, .group = 54321, .groups = {}}, groups), "");
  // The group's members may not, but all others: it takes having the group to be refused.
  const std::string others = file("others", "bytes", 0604, 0, 54323);
  EXPECT_NE(refusal(stranger, others), "");
  ASSERT_EQ(::mkdir(folder_.path("closed").c_str(), 0700), 0);
  file("closed/open", "bytes", 0644);
  EXPECT_THAT(refusal(stranger, folder_.path("closed/open")), HasSubstr("Permission denied"));

  const std::string status = text(stranger, "/proc/self/status");
  for (const char* line : {"Uid:\t54321\t54321\t54321\t54321", "Gid:\t54321\t54321\t54321\t54321",
                           "Groups:\t54322 54323", "CapPrm:\t0000000000000000", "CapEff:\t0000000000000000",
                           "CapInh:\t0000000000000000", "CapAmb:\t0000000000000000", "NoNewPrivs:\t1"})
    EXPECT_THAT(status, HasSubstr(line));
  EXPECT_THAT(text(own_user(), "/proc/self/status"), HasSubstr("CapEff:\t0000000000000004")) << "DAC_READ_SEARCH";
}

TEST_F(Opener, RefusesTheNumberThatMeansAsItIs) {
  const std::string path = file("plain", "bytes", 0644);
  EXPECT_NE(refusal({.user = ~0u, .group = 0, .groups = {}}, path), "");
  EXPECT_NE(refusal({.user = anybody().user, .group = ~0u, .groups = {}}, path), "");
  EXPECT_NE(refusal({}, path), "");
}

/// A file is made beside its name, which it gets when its stream is whole, and never in the place of another one.
TEST_F(Opener, MakesFilesThatGetTheirNameWhenTheyAreWhole) {
  const std::string shared = folder_.path("shared"), path = shared + "/saved", partial = path + ".partial";
  ASSERT_EQ(::mkdir(shared.c_str(), 0755), 0);
  ASSERT_EQ(::chmod(shared.c_str(), 0777), 0);
  std::array<u8, stream::seal_end_bytes> end{};
  end[3] = 0x80;
  const auto make = [&](std::span<const u8> bytes) {
    auto file = opener_.create(anybody(), path);
    EXPECT_TRUE(file) << file.error();
    EXPECT_EQ(::write(file->fd.get(), "x", 1), 1);
    EXPECT_EQ(::write(file->fd.get(), bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
    struct stat status {};
    EXPECT_EQ(::stat(partial.c_str(), &status), 0);
    EXPECT_EQ(status.st_mode, static_cast<mode_t>(S_IFREG | 0600));
    EXPECT_EQ(status.st_uid, anybody().user);
    EXPECT_NE(::fcntl(file->fd.get(), F_GETFL) & O_DSYNC, 0);
    return file->record;
  };
  using Whole = FileOpener::Whole;
  const auto half = make(std::span(end).first(end.size() - 1));
  EXPECT_THAT(opener_.create(anybody(), path).error(), HasSubstr("saved.partial: File exists"));
  EXPECT_EQ(opener_.settle(half, Whole::named), false);
  EXPECT_FALSE(std::filesystem::exists(partial) || std::filesystem::exists(path));
  EXPECT_EQ(opener_.settle(half, Whole::named), false) << "again";
  EXPECT_EQ(opener_.settle(make(end), Whole::removed), false);
  EXPECT_FALSE(std::filesystem::exists(partial) || std::filesystem::exists(path));
  const auto whole = make(end);
  ASSERT_EQ(::symlink("nowhere", path.c_str()), 0);
  EXPECT_EQ(opener_.settle(whole, Whole::named).error(), "it is whole, and stays saved.partial: File exists");
  ASSERT_EQ(::unlink(path.c_str()), 0);
  EXPECT_EQ(opener_.settle(whole, Whole::named), true);
  EXPECT_EQ(opener_.settle(whole, Whole::named), true) << "again";
  EXPECT_FALSE(std::filesystem::exists(partial));
  EXPECT_EQ(opener_.create(anybody(), path).error(), "File exists");
  ASSERT_EQ(::unlink(path.c_str()), 0);
  // Another one that has taken its other name.
  auto gone = make(end);
  gone.inode ^= 1;
  EXPECT_EQ(opener_.settle(gone, Whole::named), false);
  EXPECT_TRUE(std::filesystem::exists(partial));
}

TEST_F(Opener, MakesNoFileWhereItsOwnerMayNot) {
  EXPECT_THAT(opener_.create(anybody(), "saved").error(), HasSubstr("not an absolute path"));
  EXPECT_THAT(opener_.create(anybody(), folder_.path("none/saved")).error(), HasSubstr("No such file"));
  EXPECT_THAT(opener_.create(anybody(), std::string("/tmp/x\0y", 8)).error(), HasSubstr("expected a file's name"));
  if (!root()) return;  // no user sees into a process of another one's rights
  EXPECT_THAT(opener_.create(own_user(), "/proc/self/cwd/tmp/saved").error(), HasSubstr("into a process"));
  EXPECT_THAT(opener_.create(stranger, folder_.path("saved")).error(), HasSubstr("Permission denied"));
}

TEST_F(Opener, WithoutRootItOpensForItsOwnUserAlone) {
  if (root()) GTEST_SKIP() << "this is root";
  EXPECT_THAT(refusal(stranger, file("plain", "bytes", 0644)), HasSubstr("opens no file for user 54321"));
}

TEST_F(Opener, LooksAtTheLengthFirst) {
  const std::string path = file("long", "bytes", 0644);
  ASSERT_EQ(::truncate(path.c_str(), off_t{6} << 30), 0);
  const auto bytes = opener_.read(anybody(), path, most);
  ASSERT_FALSE(bytes);
  EXPECT_THAT(bytes.error(), HasSubstr("found 6442450944 bytes, which is longer than 1 MiB"));
  EXPECT_TRUE(opener_.read(anybody(), file("short", "12345", 0644), 5));
  EXPECT_FALSE(opener_.read(anybody(), folder_.path("short"), 4));
}

TEST(WholeFile, OfWhatHasNoLengthItStopsAtTheMost) {
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  Fd from(ends[0]);
  ::signal(SIGPIPE, SIG_IGN);
  std::thread writer([to = Fd(ends[1])] {
    const std::vector<u8> part(1 << 16, 'x');
    while (write_all(to.get(), part)) {
    }
  });
  const auto bytes = read_within(from.get(), most);
  from = Fd();
  writer.join();
  ASSERT_FALSE(bytes);
  EXPECT_EQ(bytes.error(), "found more than 1 MiB");
}

/// Swaps a link between two files, without a moment in which it is not there, until it goes.
class Swapping {
 public:
  Swapping(std::string link, std::string one, std::string other)
      : thread_([this, link, one, other] {
          for (bool first = true; !stop_; first = !first) {
            const std::string aside = link + ".new";
            ASSERT_EQ(::symlink((first ? one : other).c_str(), aside.c_str()), 0);
            ASSERT_EQ(::rename(aside.c_str(), link.c_str()), 0);
          }
        }) {}
  ~Swapping() {
    stop_ = true;
    thread_.join();
  }

 private:
  std::atomic<bool> stop_ = false;
  std::thread thread_;
};

TEST_F(Opener, ASwappedLinkNeverLeadsToWhatTheOwnerMayNotRead) {
  if (!root()) GTEST_SKIP() << "this process may read all that its user may";
  const std::string mine = file("mine", "mine", 0644), roots = file("roots", "root's", 0600);
  ASSERT_EQ(::symlink(mine.c_str(), folder_.path("link").c_str()), 0);
  const Swapping swapping(folder_.path("link"), mine, roots);
  int opened = 0, refused = 0;
  for (int tries = 0; tries < 2000 && (tries < 20 || opened == 0 || refused == 0); ++tries) {
    const std::string found = text(stranger, folder_.path("link"));
    ASSERT_THAT(found, testing::AnyOf("mine", HasSubstr("Permission denied")));
    ++(found == "mine" ? opened : refused);
    if (const auto fd = opener_.open(stranger, folder_.path("link"))) {
      char bytes[8] = {};
      ASSERT_EQ(::read(fd->get(), bytes, sizeof bytes), 4);
      ASSERT_STREQ(bytes, "mine");
    }
  }
  EXPECT_GT(opened, 0);
  EXPECT_GT(refused, 0);
}

TEST_F(Opener, AProcessHasNoDescriptorThatItIsNotGiven) {
  const Fd secret = sealed_memfd("secret", {});
  const Fd inherited(::fcntl(secret.get(), F_DUPFD, 100));  // not close-on-exec
  const std::string list = folder_.path("list");
  const Fd nothing(::open("/dev/null", O_RDWR | O_CLOEXEC)),
      file(::open(list.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  const int descriptors[] = {nothing.get(), file.get(), nothing.get()};
  const auto process = spawn("/bin/sh", {"sh", "-c", "echo $$; ls -l /proc/$$/fd"}, descriptors);
  ASSERT_TRUE(process) << process.error();
  ASSERT_TRUE(wait_for_end(process->pidfd.get(), 60'000));
  reap(process->pidfd.get());
  const std::string shown = folder_.read("list");
  EXPECT_THAT(shown, HasSubstr("1 -> " + list));
  EXPECT_THAT(shown, testing::Not(HasSubstr("memfd")));
  EXPECT_THAT(shown, testing::Not(HasSubstr("100 ->")));
}

TEST_F(Opener, EndsWhatDoesNotAnswer) {
  const std::string pid = folder_.path("pid");
  const std::string hang = folder_.write("hang", "#!/bin/sh\necho $$ > " + pid + "\nwhile :; do sleep 1000; done\n");
  ASSERT_EQ(::chmod(hang.c_str(), 0700), 0);
  FileOpener hanging(hang, std::chrono::milliseconds(300));
  const auto fd = hanging.open(own_user(), "/etc/passwd");
  ASSERT_FALSE(fd);
  EXPECT_THAT(fd.error(), HasSubstr("does not answer"));
  if (const std::string number = folder_.read("pid"); !number.empty()) {
    EXPECT_EQ(::kill(std::stoi(number), 0), -1);
  }

  EXPECT_THAT(FileOpener("/bin/true").open(own_user(), "/etc/passwd").error(), HasSubstr("ended before it answered"));
  EXPECT_THAT(FileOpener("/nowhere").open(own_user(), "/etc/passwd").error(), HasSubstr("cannot start /nowhere"));
}

/// What cannot be killed is an eventfd here: it becomes readable when its process is to have ended.
TEST(StuckOpeners, FillNobodysShareButTheirUsers) {
  StuckOpeners stuck;
  std::vector<int> ends;
  for (std::size_t i = 0; i < StuckOpeners::of_a_user; ++i) {
    EXPECT_FALSE(stuck.full(1));
    Process process{};
    process.pidfd = Fd(::eventfd(0, EFD_CLOEXEC));
    ends.push_back(process.pidfd.get());
    stuck.add(1, std::move(process));
  }
  stuck.bury();
  EXPECT_TRUE(stuck.full(1));
  EXPECT_FALSE(stuck.full(2));
  EXPECT_FALSE(stuck.full(0));
  ASSERT_EQ(::eventfd_write(ends.front(), 1), 0);
  stuck.bury();
  EXPECT_FALSE(stuck.full(1)) << "one has died";
}

}  // namespace
}  // namespace cloister::toolstack
