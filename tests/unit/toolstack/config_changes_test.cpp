// Texts of configurations against each other, and with another name.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "config/changes.hpp"

namespace cloister::tests {
namespace {

using namespace toolstack;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

std::vector<std::string> changed(const std::string& one, const std::string& other) {
  const std::string head = "name = 'd'\nkernel = '/k'\n";
  return changed_keys({head + one, ""}, {head + other, ""});
}

TEST(ChangedKeys, AreThoseOfAnotherValue) {
  EXPECT_THAT(changed("memory = 16\n", "# why\nmemory=16;name=\"d\"\n"), IsEmpty());
  EXPECT_THAT(changed("memory = 16\n", "vcpus = 2\n"), ElementsAre("memory", "vcpus"));
  EXPECT_THAT(changed("epc = [ 'size=1', 'size=2' ]\n", "epc = [ 'size=1', 'size=3' ]\n"), ElementsAre("epc"));
  EXPECT_THAT(changed("epc = [ 'size=1', 'size=2' ]\n", "epc = [ 'size=1' ]\n"), ElementsAre("epc"));
  EXPECT_THAT(changed("cmdline = 'a'\n", "cmdline = 'a'\ncmdline = 'b'\n"), ElementsAre("cmdline"));
  EXPECT_THAT(changed("root = 'a'\nextra = 'b'\n", "root = 'a'\nextra = 'c'\n"), ElementsAre("extra"));
  EXPECT_THAT(changed("root = 'a'\n", "cmdline = 'b'\nroot = 'c'\n"), ElementsAre("cmdline"));
}

TEST(ChangedKeys, AreNotThoseOfTheSameValue) {
  EXPECT_THAT(changed("memory = 65\n", "memory = \"0x41\"\n"), IsEmpty());
  EXPECT_THAT(changed("shutdown_timeout = 1\n", "shutdown_timeout = 01\n"), IsEmpty());
  EXPECT_THAT(changed("", "vcpus = 1\nmemory = 512\non_crash = 'destroy'\nsilicon = 'default'\ncpuid = 'host'\n"),
              IsEmpty());
  EXPECT_THAT(changed("epc = 1\n", "epc = '1'\n"), IsEmpty());
  EXPECT_THAT(changed("epc = 64\n", "epc = 64\nepc_min = 64\n"), IsEmpty());
  EXPECT_THAT(changed("root = 'a'\n", "cmdline = 'root=a'\n"), IsEmpty());
  EXPECT_THAT(changed("", "no_key = 1\n"), IsEmpty()) << "it is ignored";
  EXPECT_THAT(changed("memory = 16\n", "memory = 'much'\n"), ElementsAre("memory")) << "of a text with an error";
}

TEST(ChangedKeys, ArePathsThatLeadElsewhere) {
  const std::string text = "name = 'd'\nkernel = 'k'\nramdisk = '/r'\nsilicon = 's.txt'\n";
  EXPECT_THAT(changed_keys({text, "/a"}, {text, "/a"}), IsEmpty());
  EXPECT_THAT(changed_keys({text, "/a"}, {text, "/a/"}), IsEmpty());
  EXPECT_THAT(changed_keys({text, "/a"}, {text, "/b"}), ElementsAre("kernel", "silicon"));
  EXPECT_THAT(changed_keys({"name = 'd'\nkernel = '/a/k'\n", "/b"}, {"name = 'd'\nkernel = 'k'\n", "/a"}), IsEmpty());
  const std::string disk = "name = 'd'\nkernel = '/k'\ndisk = ['d.img,raw,xvda']\n";
  EXPECT_THAT(changed_keys({disk, "/a"}, {disk, "/b"}), ElementsAre("disk"));
}

TEST(Renamed, ChangesTheNameAlone) {
  EXPECT_EQ(renamed("# name = 'x'\r\nmemory = 16 ; name\t=  'one'  # one\r\nkernel = 'one'", "two"),
            "# name = 'x'\r\nmemory = 16 ; name\t=  'two'  # one\r\nkernel = 'one'");
  EXPECT_EQ(renamed("name=\"a\"", "longer.than-that"), "name=\"longer.than-that\"");
  EXPECT_EQ(renamed("name = \"a\"\n", "a"), "name = \"a\"\n");
}

TEST(Renamed, RefusesWhatItCannotChangeWhole) {
  EXPECT_FALSE(renamed("memory = 1\n", "b"));
  EXPECT_FALSE(renamed("name = 12\n", "b"));
  EXPECT_FALSE(renamed("name = [ 'a' ]\n", "b"));
  EXPECT_FALSE(renamed("name = 'a\n", "b"));
  EXPECT_FALSE(renamed("name = 'a'\n", "../b"));
  EXPECT_FALSE(renamed("name = 'a'\n", "b\"\nmemory = 1"));
  EXPECT_FALSE(renamed("name = 'a\\x62'\n", "b"));
  EXPECT_EQ(renamed("memory = 16\nname = 'a' ; name += 'b'\n", "c").error(),
            "the name in its text cannot be changed: 2:8: it is put together of several values; `cloister edit` can");
  EXPECT_FALSE(renamed("name = 'a'\nname += 'b'\n", "c"));
  EXPECT_EQ(renamed("name = 'a'\nname = 'b'\n", "c"), "name = 'a'\nname = 'c'\n") << "the last one counts";
}

TEST(Retargeted, ChangesTargetsAlone) {
  const std::string head = "name = 'd'\nkernel = '/k'\n";
  EXPECT_EQ(retargeted(head + "disk = [ '/vm/b,raw,xvdb,ro', # b\n  \"/vm/a,raw,xvda\" ]\nmemory = 16\n",
                       {{"xvda", "storage:vm/a"}, {"xvdb", "storage:vm/x,y"}}),
            head +
                "disk = [ \"format=raw,vdev=xvdb,access=ro,target=storage:vm/x,y\", # b\n"
                "  \"format=raw,vdev=xvda,access=rw,target=storage:vm/a\" ]\nmemory = 16\n");
  const std::string two = head + "disk = ['a,raw,xvda']\ndisk += ['b,raw,xvdb']\n";
  EXPECT_EQ(retargeted(two, {{"xvdb", "storage:vm/b"}}),
            head + "disk = ['a,raw,xvda']\ndisk += [\"format=raw,vdev=xvdb,access=rw,target=storage:vm/b\"]\n");
  EXPECT_EQ(retargeted(two, {}), two);
}

TEST(Retargeted, RefusesWhatItCannotChangeWhole) {
  const std::string head = "name = 'd'\nkernel = '/k'\n";
  EXPECT_FALSE(retargeted(head, {{"xvda", "storage:vm/a"}}));
  EXPECT_FALSE(retargeted(head + "disk = 1\n", {{"xvda", "storage:vm/a"}}));
  EXPECT_EQ(retargeted(head + "disk = ['\\x61,raw,xvda']\n", {{"xvda", "storage:vm/a"}}).error(),
            "the disks in its text cannot be changed: 3:9: xvda has escapes, or is put together of several values");
  EXPECT_FALSE(retargeted(head + "disk = ['a,raw,xvda']\n", {{"xvda", "storage:vm/.."}})) << "no such target";
}

}  // namespace
}  // namespace cloister::tests
