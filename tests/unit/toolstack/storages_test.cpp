// Where a disk on a storage is, and what one that lies there is called.
#include "plan/storages.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "config/config.hpp"

namespace cloister::toolstack {
namespace {

using ::testing::HasSubstr;

const std::vector<SharedStorage> storages{{"vm", "/srv/vm"}, {"deep", "/srv/vm/deep"}, {"x", "/mnt/x"}};

std::string called(const std::string& path) {
  const auto target = storage_of(path, storages);
  return target ? to_text(*target) : "";
}

TEST(Storages, AFileIsCalledByTheInnermostFolderAboveIt) {
  EXPECT_EQ(called("/srv/vm/a.img"), "storage:vm/a.img");
  EXPECT_EQ(called("/srv//vm/./b/../a.img"), "storage:vm/a.img");
  EXPECT_EQ(called("/srv/vm/deep/a.img"), "storage:deep/a.img");
  EXPECT_EQ(called("/srv/vm/deeper/a.img"), "storage:vm/deeper/a.img");
  for (const char* path : {"/srv/vm", "/srv/vm/", "/srv/vms/a", "/srv/a", "/srv/vm/../a", "a", "", "/"})
    EXPECT_EQ(called(path), "") << path;
}

TEST(Storages, ATargetIsSomewhereOnThisMachine) {
  const auto place = place_on_storage({"x", "a/b.img"}, storages);
  ASSERT_TRUE(place) << place.error();
  EXPECT_EQ(place->folder, "/mnt/x");
  EXPECT_EQ(place->path, "a/b.img");
  EXPECT_EQ(place->whole(), "/mnt/x/a/b.img");
  EXPECT_THAT(place_on_storage({"y", "a"}, storages).error(), HasSubstr("this machine has no storage 'y'"));
}

TEST(Storages, TargetsAreReadAndWritten) {
  EXPECT_FALSE(storage_target("/storage:vm/a"));
  const auto target = storage_target("storage:vm.1/a/b=c,d");
  ASSERT_TRUE(target);
  EXPECT_EQ(target->name, "vm.1");
  EXPECT_EQ(target->path, "a/b=c,d");
  EXPECT_TRUE(is_storage_target(*target));
  EXPECT_EQ(to_text(*target), "storage:vm.1/a/b=c,d");
  for (const char* path : {"", ".", "..", "../a", "a/..", "a/../b", "a//b", "/a", "a/", "a/./b"})
    EXPECT_FALSE(is_storage_target({"vm", path})) << path;
  EXPECT_FALSE(is_storage_target({"vm", std::string("a\0b", 3)}));
  for (const char* name : {"", "..", "1", "a b"}) EXPECT_FALSE(is_storage_target({name, "a"})) << name;
}

TEST(Storages, ARunHasItsDisksByTheirPaths) {
  const auto read = [](const std::string& disks) {
    return read_config("name = 'd'\nkernel = 'k'\ndisk = [" + disks + "]\n")->config;
  };
  const auto config = with_places(read("'storage:vm/a,raw,xvda', 'b,raw,xvdb'"), storages);
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(config->disks[0].path, "/srv/vm/a");
  EXPECT_EQ(config->disks[1].path, "b");
  const auto none = with_places(read("'b,raw,xvdb', 'storage:y/a,raw,xvda'"), storages);
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().at, (Position{3, 23}));
  EXPECT_THAT(none.error().message, HasSubstr("cannot use disk 'storage:y/a': this machine has no storage 'y'"));
}

TEST(Storages, RawFilesAloneGoElsewhere) {
  DiskConfig disk{.path = "/a", .vdev = "xvda"};
  EXPECT_EQ(why_disk_stays(disk), "");
  disk.format = "qcow2";
  EXPECT_THAT(why_disk_stays(disk), HasSubstr("found qcow2, expected raw"));
  EXPECT_THAT(why_disk_stays({.path = "nbd:unix:/a", .vdev = "xvda"}), HasSubstr("another program serves it"));
}

}  // namespace
}  // namespace cloister::toolstack
