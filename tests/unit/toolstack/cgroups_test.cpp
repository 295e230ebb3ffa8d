// What is written into control groups, and into which: on folders that look like them, and on the kernel's own where a
// group may be used.
#include "daemon/cgroups.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "unit/toolstack/run_cloister.hpp"

namespace cloister::toolstack {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr CgroupLimits limits{.memory_bytes = 300 << 20, .processors = 3, .tasks = 11};

/// A folder with what the kernel puts into a new group's: it is the kernel that this test stands in for.
class Groups : public testing::Test {
 protected:
  Groups() {
    fs::create_directories(folder_.path("proc/self"));
    run_in("/cloister.slice/cloisterd.service");
    make_group("cloister.slice", "cpu io memory pids", "memory pids");
    make_group("cloister.slice/cloisterd.service", "memory pids", "");
    make_group("cloister.slice/domains", "cpu memory pids", "cpu memory pids");
  }

  void run_in(const std::string& group) { folder_.write("proc/self/cgroup", "0::" + group + "\n"); }
  std::string in(const std::string& group) const { return folder_.path("sys/fs/cgroup/" + group); }
  void make_group(const std::string& group, const std::string& controllers, const std::string& passed_on) const {
    fs::create_directories(in(group));
    for (const auto& [file, text] : {std::pair{"cgroup.controllers", controllers},
                                     {"cgroup.subtree_control", passed_on},
                                     {"cgroup.procs", std::string()}})
      folder_.write("sys/fs/cgroup/" + group + "/" + file, text + "\n");
  }
  std::string text(const std::string& file) const { return folder_.read("sys/fs/cgroup/" + file); }
  DomainCgroups open(const std::string& asked = "auto") const {
    auto groups = DomainCgroups::open(asked, folder_.path());
    EXPECT_TRUE(groups) << groups.error();
    return *groups;
  }

  tests::Folder folder_;
};

TEST_F(Groups, ADomainGetsItsLimitsAndItsProcess) {
  const DomainCgroups groups = open();
  EXPECT_EQ(groups.off(), "");
  EXPECT_EQ(groups.folder(), in("cloister.slice/domains"));
  EXPECT_THAT(groups.controllers(), ElementsAre("memory", "cpu", "pids"));
  const auto added = groups.add(7, 4321, limits);
  ASSERT_TRUE(added) << added.error();
  const std::string group = "cloister.slice/domains/domain-7/";
  EXPECT_EQ(text(group + "memory.max"), "314572800");
  EXPECT_EQ(text(group + "memory.oom.group"), "1");
  EXPECT_EQ(text(group + "cpu.max"), "300000 100000");
  EXPECT_EQ(text(group + "pids.max"), "11");
  EXPECT_EQ(text(group + "cgroup.procs"), "4321");
  EXPECT_EQ(text("cloister.slice/cgroup.subtree_control"), "+cpu") << "what was missing, and nothing else";
  EXPECT_EQ(text("cloister.slice/cgroup.procs"), "\n") << "the slice's own settings are nobody's to change";
}

TEST_F(Groups, WhatIsNotThereIsNotLimited) {
  make_group("cloister.slice/domains", "pids", "pids");
  const DomainCgroups groups = open();
  EXPECT_THAT(groups.controllers(), ElementsAre("pids"));
  ASSERT_TRUE(groups.add(7, 4321, limits));
  EXPECT_FALSE(fs::exists(in("cloister.slice/domains/domain-7/memory.max")));
  EXPECT_EQ(text("cloister.slice/domains/domain-7/pids.max"), "11");
}

TEST_F(Groups, AnotherSliceIsNotTheDaemonsToUse) {
  run_in("/system.slice/cloisterd.service");
  EXPECT_THAT(open().off(), HasSubstr("does not run in cloister.slice"));
  folder_.write("proc/self/cgroup", "3:memory:/x\n");
  EXPECT_THAT(open().off(), HasSubstr("no cgroup v2"));
  EXPECT_THAT(open("none").off(), HasSubstr("--cgroup none"));
  EXPECT_TRUE(open("none").add(7, 4321, limits)) << "nothing to do";
  const auto asked = DomainCgroups::open(folder_.path("proc"), folder_.path());
  ASSERT_FALSE(asked) << "what was asked for by name must be there";
  EXPECT_THAT(asked.error(), HasSubstr("no group of cgroup v2"));
}

TEST_F(Groups, TheDaemonMovesOutOfAGroupOfItsOwn) {
  make_group("user.slice/own", "memory pids", "");
  make_group("user.slice/own/domains", "memory pids", "memory pids");
  run_in("/user.slice/own");
  const DomainCgroups groups = open(in("user.slice/own"));
  EXPECT_EQ(text("user.slice/own/daemon/cgroup.procs"), std::to_string(::getpid()));
  EXPECT_EQ(groups.folder(), in("user.slice/own/domains"));
}

TEST_F(Groups, OnlyEmptyGroupsOfOurFormAreRemoved) {
  const DomainCgroups groups = open();
  for (const char* name : {"domain-1", "domain-2", "domain-3", "domain-x", "domain-", "other"})
    fs::create_directory(in("cloister.slice/domains/") + name);
  folder_.write("sys/fs/cgroup/cloister.slice/domains/domain-3/busy", "");
  groups.keep_only({2});
  std::vector<std::string> left;
  for (const auto& entry : fs::directory_iterator(in("cloister.slice/domains"))) {
    if (entry.is_directory()) left.push_back(entry.path().filename());
  }
  EXPECT_THAT(left, testing::UnorderedElementsAre("domain-2", "domain-3", "domain-x", "domain-", "other"));
  groups.remove(2);
  EXPECT_FALSE(fs::exists(in("cloister.slice/domains/domain-2")));
  // One that cannot be made anew is an error, with its name.
  const auto added = groups.add(3, 4321, limits);
  ASSERT_FALSE(added);
  EXPECT_THAT(added.error(), HasSubstr("domain-3"));
}

}  // namespace
}  // namespace cloister::toolstack
