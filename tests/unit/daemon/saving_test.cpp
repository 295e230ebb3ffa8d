// Domains that are saved, and go on: what is refused before anything is paused, what becomes of the file and of the
// domain however the saving ends, and who may do it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "stream/sealing.hpp"
#include "unit/daemon/test_daemon.hpp"
#include "unit/toolstack/run_cloister.hpp"

namespace cloister::tests {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class Saving : public testing::Test {
 protected:
  Saving() { daemon_.restart(); }

  FileRequest file(const std::string& name = "a.saved") const {
    return {.file = name, .directory = folder_.path(), .owner = own_user()};
  }
  fs::path path(const std::string& name = "a.saved") const { return fs::path(folder_.path()) / name; }

  std::string add(const std::string& word) {
    const auto added = daemon_.add("a", word);
    EXPECT_TRUE(added) << (added ? "" : added.error().message);
    return added ? added->uuid : "";
  }
  /// Its file is settled, and so is its end, if it ends.
  bool is_over(const std::string& uuid) const {
    const auto now = daemon_->find(uuid);
    return now && now->save && !now->save->going && now->state != "ending" && now->state != "saving";
  }
  /// Saves "a", and waits for what becomes of it.
  DomainInfo saved(const std::string& uuid) {
    const auto begun = daemon_->save("a", file());
    EXPECT_TRUE(begun) << (begun ? "" : begun.error().message);
    wait_for([&] { return is_over(uuid); });
    return *daemon_->find(uuid);
  }
  std::string refusal(const FileRequest& request) {
    const auto restored = daemon_->restore(request, false);
    EXPECT_FALSE(restored);
    return restored ? "" : std::to_string(restored.error().status) + ": " + restored.error().message;
  }

  Folder folder_;
  TestDaemon daemon_{folder_.path()};
};

bool is_whole(const fs::path& path) {
  std::ifstream from(path, std::ios::binary);
  const std::string bytes((std::istreambuf_iterator<char>(from)), {});
  const std::span all(reinterpret_cast<const u8*>(bytes.data()), bytes.size());
  return all.size() > stream::seal_end_bytes && stream::seal_ends_with(all.last<stream::seal_end_bytes>());
}

/// Neither under its name, nor beside it.
#define EXPECT_NO_FILE()                               \
  do {                                                 \
    EXPECT_FALSE(fs::exists(path()));                  \
    EXPECT_FALSE(fs::exists(path("a.saved.partial"))); \
  } while (false)

TEST_F(Saving, ItEndsAndGoesOnAsTheSame) {
  const std::string uuid = add("");
  const DomainInfo last = saved(uuid);
  EXPECT_EQ(last.state, "ended");
  EXPECT_EQ(last.last_end.how, "saved");
  EXPECT_EQ(last.save->failed, "");
  EXPECT_EQ(daemon_.left(), "");
  struct stat status {};
  ASSERT_EQ(::stat(path().c_str(), &status), 0);
  EXPECT_EQ(status.st_mode, static_cast<mode_t>(S_IFREG | 0600));
  EXPECT_EQ(daemon_->destroy(uuid).error().status, 404);

  for (int times = 0; times < 2; ++times) {
    const auto restored = daemon_->restore(file(), false);
    ASSERT_TRUE(restored) << restored.error().message;
    EXPECT_EQ(restored->uuid, uuid);
    EXPECT_EQ(restored->name, "a");
    EXPECT_FALSE(restored->save);
    EXPECT_THAT(refusal(file()), HasSubstr("409: "));  // while it lives
    EXPECT_TRUE(daemon_->destroy("a"));
    EXPECT_EQ(daemon_.left(), "");
  }
}

TEST_F(Saving, AFileThatCannotBeMadeLeavesTheDomainAsItWas) {
  add("");
  std::ofstream(path("there")) << "text";
  fs::create_symlink(path("nowhere"), path("link"));
  fs::create_directory(path("folder"));
  std::ofstream(path("left.partial")) << "text";
  for (const auto& [name, why] : {std::pair{"there", "File exists"}, std::pair{"link", "File exists"},
                                  std::pair{"folder", "File exists"}, std::pair{"left", "left.partial: File exists"},
                                  std::pair{"none/a", "No such file"}, std::pair{"folder/", "expected a file's name"},
                                  std::pair{"..", "expected a file's name"}, std::pair{"", "expected a path"}}) {
    const auto refused = daemon_->save("a", file(name));
    ASSERT_FALSE(refused) << name;
    EXPECT_EQ(refused.error().status, 400);
    EXPECT_THAT(refused.error().message, HasSubstr(why));
  }
  FileRequest nowhere = file();
  nowhere.directory.clear();
  EXPECT_THAT(daemon_->save("a", nowhere).error().message, HasSubstr("a relative path"));
  EXPECT_EQ(daemon_.shown("a"), "running");
  EXPECT_FALSE(fs::exists(path("nowhere")));
  EXPECT_EQ(daemon_->save("b", file()).error().status, 404);
  EXPECT_FALSE(fs::exists(path()));
  EXPECT_TRUE(daemon_->destroy("a"));
}

TEST_F(Saving, WhatIsRefusedLeavesNoFile) {
  add("save-refused");
  const auto refused = daemon_->save("a", file());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().status, 409);
  EXPECT_EQ(refused.error().message, "'a': it is not to be saved");
  EXPECT_FALSE(fs::exists(path()));
  EXPECT_TRUE(daemon_->destroy("a"));
}

TEST_F(Saving, WhatFailsLeavesNoFileAndTheDomain) {
  const std::string uuid = add("save-fails");
  for (int times = 0; times < 2; ++times) {
    const DomainInfo now = saved(uuid);
    EXPECT_EQ(now.state, "running");
    EXPECT_EQ(now.save->failed, "no room is left");
    EXPECT_NO_FILE();
    EXPECT_FALSE(daemon_.record().saving);
  }
  EXPECT_TRUE(daemon_->destroy("a"));
  EXPECT_EQ(daemon_.left(), "");
}

TEST_F(Saving, AProcessThatDiesLeavesNoFile) {
  const DomainInfo last = saved(add("save-dies"));
  EXPECT_EQ(last.state, "ended");
  EXPECT_EQ(last.save->failed, "it has ended: vmm-died");
  EXPECT_NO_FILE();
  EXPECT_EQ(daemon_.left(), "");
}

TEST_F(Saving, OneThatIsDestroyedMeanwhileLeavesNoFile) {
  const std::string uuid = add("save-waits");
  ASSERT_TRUE(daemon_->save("a", file()));
  EXPECT_EQ(daemon_.shown("a"), "saving");
  EXPECT_FALSE(fs::exists(path()));
  EXPECT_TRUE(fs::exists(path("a.saved.partial")));
  EXPECT_EQ(daemon_->find("a")->save->most_bytes, u64{16} << 20);
  EXPECT_EQ(daemon_->save("a", file("b")).error().message, "'a' is being saved");
  EXPECT_TRUE(daemon_->destroy("a"));
  EXPECT_FALSE(daemon_->find(uuid)->save->going);
  EXPECT_EQ(daemon_->find(uuid)->save->failed, "it has ended: destroyed");
  EXPECT_NO_FILE();
  EXPECT_FALSE(fs::exists(path("b")));
  EXPECT_EQ(daemon_.left(), "");
}

TEST_F(Saving, AFileOfAnotherThatHasTakenItsPlaceStays) {
  add("save-waits");
  ASSERT_TRUE(daemon_->save("a", file()));
  fs::remove(path("a.saved.partial"));
  std::ofstream(path("a.saved.partial")) << "another one";
  EXPECT_TRUE(daemon_->destroy("a"));
  EXPECT_TRUE(fs::exists(path("a.saved.partial")));
}

TEST_F(Saving, WhatIsWholeIsKeptWhateverBecomesOfItsProcess) {
  const std::string uuid = add("save-whole");
  ASSERT_TRUE(daemon_->save("a", file()));
  wait_for([&] { return is_whole(path("a.saved.partial")); });
  // Under a name that somebody else has taken meanwhile it is not: it says where it is.
  std::ofstream(path()) << "another one";
  EXPECT_TRUE(daemon_->destroy("a"));
  EXPECT_EQ(daemon_->find(uuid)->save->failed, "it is whole, and stays a.saved.partial: File exists");
  fs::rename(path("a.saved.partial"), path());
  const auto restored = daemon_->restore(file(), false);
  ASSERT_TRUE(restored) << restored.error().message;
  ASSERT_TRUE(daemon_->save("a", file("b.saved")));
  wait_for([&] { return is_whole(path("b.saved.partial")); });
  EXPECT_TRUE(daemon_->destroy("a"));
  EXPECT_EQ(daemon_->find(uuid)->save->failed, "");
  EXPECT_TRUE(fs::exists(path("b.saved")));
  EXPECT_EQ(daemon_.left(), "");
}

/// With the daemon's waiting over, either nothing was begun and nothing ever will be, or all goes its way.
TEST_F(Saving, WhatIsToldTooLateIsNotBegun) {
  daemon_.patience.verb = std::chrono::milliseconds(50);
  daemon_.restart();
  add("save-late");
  const auto refused = daemon_->save("a", file());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().status, 500);
  EXPECT_NO_FILE();
  EXPECT_FALSE(daemon_.record().saving);
  daemon_.wait_until("a", "running");  // it answers again
  EXPECT_TRUE(daemon_->destroy("a"));
}

TEST_F(Saving, WhatHasBegunGoesOnWhoeverHearsOfIt) {
  daemon_.patience.verb = std::chrono::milliseconds(50);
  daemon_.restart();
  const std::string uuid = add("save-answers-late");
  const auto begun = daemon_->save("a", file());
  ASSERT_TRUE(begun) << begun.error().message;
  wait_for([&] { return is_over(uuid); });
  EXPECT_EQ(daemon_->find(uuid)->save->failed, "");
  EXPECT_TRUE(fs::exists(path()));
  EXPECT_EQ(daemon_.left(), "");
}

/// The record knows the file: the next daemon sees to it, whether the domain lives or not.
TEST_F(Saving, ADaemonThatEndsMeanwhileIsNotNeeded) {
  const std::string uuid = add("save-waits");
  ASSERT_TRUE(daemon_->save("a", file()));
  daemon_.restart();
  EXPECT_EQ(daemon_.shown("a"), "saving");
  EXPECT_TRUE(daemon_->find("a")->save->going);
  EXPECT_TRUE(fs::exists(path("a.saved.partial")));
  EXPECT_TRUE(daemon_->destroy("a"));
  EXPECT_EQ(daemon_->find(uuid)->save->failed, "it has ended: destroyed");
  EXPECT_NO_FILE();
  for (const char* word : {"save-whole", "save-waits"}) {
    add(word);
    ASSERT_TRUE(daemon_->save("a", file(word)));
    const fs::path partial = path(std::string(word) + ".partial");
    wait_for([&] { return word != std::string("save-whole") || is_whole(partial); });
    daemon_.kill_without_daemon("a");
    EXPECT_EQ(daemon_.shown("a"), "");
    wait_for([&] { return !fs::exists(partial); });
    EXPECT_EQ(fs::exists(path(word)), word == std::string("save-whole"));
    wait_for([&] { return daemon_.left().empty(); });
  }
}

TEST_F(Saving, ADaemonThatEndedBeforeItWasBegunLeavesNoFile) {
  const std::string uuid = add("");
  daemon_.stop();
  std::ofstream(path("a.saved.partial")) << "";
  struct stat status {};
  ASSERT_EQ(::stat(path("a.saved.partial").c_str(), &status), 0);
  daemon_.change_record(
      [&](DomainRecord& record) { record.saving = {.file = path(), .owner = own_user(), .inode = status.st_ino}; });
  ASSERT_TRUE(daemon_.start());
  wait_for([&] { return is_over(uuid); });
  EXPECT_EQ(daemon_->find(uuid)->save->failed, "its process did not begin");
  EXPECT_EQ(daemon_.shown("a"), "running");
  EXPECT_FALSE(daemon_.record().saving);
  EXPECT_NO_FILE();
  EXPECT_TRUE(daemon_->destroy("a"));
}

/// The definition that came with it cannot be kept at the moment: the next daemon finds that out of its record again.
TEST_F(Saving, WhatAMoveHasLeftToDoIsNotForgottenWithTheFile) {
  add("");
  const int vmm = daemon_->find("a")->pid;
  daemon_.stop();
  std::ofstream(path("a.saved.partial")) << "";
  struct stat status {};
  ASSERT_EQ(::stat(path("a.saved.partial").c_str(), &status), 0);
  daemon_.change_record([&](DomainRecord& record) {
    record.saving = {.file = path(), .owner = own_user(), .inode = status.st_ino};
    record.move = {.session = std::string(32, 'a'), .arrives = true, .defined = StartTerms{}};
  });
  const fs::path in_the_way = fs::path(daemon_.paths.state) / "migrations";
  fs::remove_all(in_the_way);
  std::ofstream(in_the_way) << "";
  ::kill(vmm, SIGKILL);
  ::waitpid(vmm, nullptr, 0);
  ASSERT_TRUE(daemon_.start());
  wait_for([&] { return !fs::exists(path("a.saved.partial")); });
  daemon_.stop();
  EXPECT_TRUE(daemon_.record().move);
  fs::remove(in_the_way);
  ASSERT_TRUE(daemon_.start());
  wait_for([&] { return daemon_.left().empty(); });
}

TEST_F(Saving, OneThatIsDefinedIsShutOffAndGoesOnAsThat) {
  ASSERT_TRUE(daemon_.define("a"));
  const auto started = daemon_->start("a", false);
  ASSERT_TRUE(started);
  const DomainInfo last = saved(started->uuid);
  EXPECT_EQ(last.state, "shut off");
  EXPECT_EQ(last.last_end.how, "saved");
  // What was defined since counts from the next start on.
  ASSERT_TRUE(daemon_.define("a", "vcpus = 2\n"));
  const auto restored = daemon_->restore(file(), true);
  ASSERT_TRUE(restored) << restored.error().message;
  EXPECT_TRUE(restored->terms);
  EXPECT_EQ(restored->vcpus, 1u);
  EXPECT_THAT(restored->differs, testing::Contains("vcpus"));
  EXPECT_TRUE(daemon_->destroy("a"));
  ASSERT_TRUE(daemon_->change("a", {.name = "b"}));
  EXPECT_EQ(refusal(file()).substr(0, 5), "409: ");
  ASSERT_TRUE(daemon_->undefine("b"));
  const auto alone = daemon_->restore(file(), false);
  ASSERT_TRUE(alone) << alone.error().message;
  EXPECT_FALSE(alone->terms);
  EXPECT_EQ(alone->uuid, started->uuid);
  EXPECT_TRUE(daemon_->destroy("a"));
}

TEST_F(Saving, ASnapshotLeavesTheDomainAndGoesOnWhenThatHasEnded) {
  const std::string uuid = add("");
  FileRequest request = file();
  request.enclaves = Enclaves::lose;
  request.then = AfterSave::goes_on;
  ASSERT_TRUE(daemon_->save("a", request));
  wait_for([&] { return is_over(uuid); });
  const DomainInfo now = *daemon_->find("a");
  EXPECT_EQ(now.state, "running");
  EXPECT_EQ(now.save->failed, "");
  EXPECT_TRUE(now.save->snapshot);
  EXPECT_FALSE(daemon_.record().saving);
  EXPECT_TRUE(fs::exists(path()));
  EXPECT_FALSE(fs::exists(path("a.saved.partial")));
  // By its uuid, whatever it is called.
  ASSERT_TRUE(daemon_->change("a", {.name = "b"}));
  EXPECT_THAT(refusal(file()), HasSubstr("there is a domain 'b' already, of the same uuid"));
  EXPECT_TRUE(daemon_->destroy("b"));
  for (int times = 0; times < 2; ++times) {
    const auto restored = daemon_->restore(file(), false);
    ASSERT_TRUE(restored) << restored.error().message;
    EXPECT_EQ(restored->uuid, uuid);
    EXPECT_TRUE(restored->from_snapshot);
    EXPECT_FALSE(restored->enclaves_kept.value());
    EXPECT_TRUE(daemon_->destroy("a"));
  }
  FileRequest keep = file();
  keep.enclaves = Enclaves::keep;
  EXPECT_THAT(refusal(keep), HasSubstr("it is a snapshot, in which no enclaves are"));
}

TEST_F(Saving, ASnapshotThatFailsLeavesNoFile) {
  const std::string uuid = add("save-fails");
  FileRequest request = file();
  request.then = AfterSave::goes_on;
  ASSERT_TRUE(daemon_->save("a", request));
  wait_for([&] { return is_over(uuid); });
  EXPECT_EQ(daemon_->find("a")->save->failed, "no room is left");
  EXPECT_EQ(daemon_.shown("a"), "running");
  EXPECT_NO_FILE();
  EXPECT_TRUE(daemon_->destroy("a"));
}

/// The record knows that it is one: its file gets its name from whoever comes, where the domain goes on and all is
/// there.
TEST_F(Saving, ASnapshotIsTheNextDaemonsToName) {
  const std::string uuid = add("");
  FileRequest request = file();
  request.then = AfterSave::goes_on;
  ASSERT_TRUE(daemon_->save("a", request));
  wait_for([&] { return is_over(uuid); });
  struct stat status {};
  ASSERT_EQ(::stat(path().c_str(), &status), 0);
  daemon_.stop();
  // As it was before that: with its other name, and as the record has it.
  fs::rename(path(), path("a.saved.partial"));
  daemon_.change_record([&](DomainRecord& record) {
    record.saving = {.file = path(), .owner = own_user(), .inode = status.st_ino, .snapshot = true};
  });
  ASSERT_TRUE(daemon_.start());
  wait_for([&] { return is_over(uuid); });
  EXPECT_EQ(daemon_->find("a")->save->failed, "");
  EXPECT_TRUE(fs::exists(path()));
  EXPECT_FALSE(fs::exists(path("a.saved.partial")));
  EXPECT_FALSE(daemon_.record().saving);
  EXPECT_TRUE(daemon_->destroy("a"));
}

TEST_F(Saving, UnderTheNameThatItHas) {
  const std::string uuid = add("");
  ASSERT_TRUE(daemon_->change("a", {.name = "b"}));
  ASSERT_TRUE(daemon_->save("b", file()));
  wait_for([&] { return is_over(uuid); });
  const auto restored = daemon_->restore(file(), false);
  ASSERT_TRUE(restored) << restored.error().message;
  EXPECT_EQ(restored->name, "b");
  EXPECT_TRUE(daemon_->destroy("b"));
}

TEST_F(Saving, AFileThatIsNoneOrAnothersIsRefusedWithItsName) {
  saved(add(""));
  EXPECT_THAT(refusal(file("none")), HasSubstr("none': No such file"));
  std::ofstream(path("text")) << "text";
  EXPECT_THAT(refusal(file("text")), HasSubstr("text': found no sealed domain's header"));
  std::ifstream from(path(), std::ios::binary);
  const std::string whole((std::istreambuf_iterator<char>(from)), {});
  const auto write = [&](const std::string& bytes) {
    std::ofstream(path("other"), std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  };
  std::string altered = whole;
  altered[100] = static_cast<char>(altered[100] ^ 1);
  write(altered);
  EXPECT_THAT(refusal(file("other")), HasSubstr("other': frame 0: it was altered, or sealed with another key"));
  write(whole.substr(0, whole.size() - 1));
  EXPECT_THAT(refusal(file("other")), HasSubstr("the sealed stream ends before its last frame"));
  EXPECT_EQ(daemon_.left(), "");
  if (::geteuid() != 0) return;
  // Who can read it is not yet who may let it go on.
  fs::permissions(folder_.path(), fs::perms(0755));
  fs::permissions(path(), fs::perms(0644));
  FileRequest strangers = file();
  strangers.owner = {.user = 54321, .group = 54321, .groups = {}};
  EXPECT_THAT(refusal(strangers), HasSubstr("403: user 54321 may not restore 'a', which is user 0's"));
  EXPECT_THAT(daemon_->save("a", strangers).error().message, HasSubstr("no domain"));
}

}  // namespace
}  // namespace cloister::tests
