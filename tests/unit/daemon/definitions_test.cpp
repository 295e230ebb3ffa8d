// Domains that are defined: what is kept of them, what may be done to them while they live and while they do not, and
// what a failure in between leaves.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cctype>
#include <fstream>
#include <functional>
#include <set>

#include "text/uuid.hpp"
#include "unit/daemon/test_daemon.hpp"
#include "unit/platform/kernel_files.hpp"
#include "unit/toolstack/run_cloister.hpp"
#include "verbs/start_delay.hpp"

namespace cloister::tests {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

Definition some() {
  Definition one;
  one.uuid = "3ba1b3d8-52a4-4f2c-9b1e-0d5b8d0c4a10";
  one.name = "one";
  one.owner = {1, 2, {3, 4}};
  one.text = "name = \"one\"\r\n# no end of line";
  one.file = "one.cfg";
  one.directory = "/home/one";
  one.autostart = Autostart::last;
  one.order = 7;
  one.delay_seconds = 8;
  return one;
}

TEST(DefinitionFile, KeepsEveryField) {
  const auto read = read_definition(write_definition(some()));
  ASSERT_TRUE(read) << read.error();
  EXPECT_EQ(read->uuid, "3ba1b3d8-52a4-4f2c-9b1e-0d5b8d0c4a10");
  EXPECT_EQ(read->name, "one");
  EXPECT_EQ(read->owner, (Owner{1, 2, {3, 4}}));
  EXPECT_EQ(read->text, "name = \"one\"\r\n# no end of line");
  EXPECT_EQ(read->file, "one.cfg");
  EXPECT_EQ(read->directory, "/home/one");
  EXPECT_EQ(read->autostart, Autostart::last);
  EXPECT_EQ(read->order, 7u);
  EXPECT_EQ(read->delay_seconds, 8u);
}

TEST(DefinitionFile, OfBeforeDelaysHadABoundIsUnderstood) {
  Definition old = some();
  old.delay_seconds = ~0u;
  const auto read = read_definition(write_definition(old));
  ASSERT_TRUE(read) << read.error();
  EXPECT_EQ(read->delay_seconds, longest_start_delay);
}

/// `user`: their owner's number, `size`: their text's.
void add_definitions(Definitions& to, std::size_t count, unsigned user, std::size_t size) {
  for (std::size_t i = 0; i < count; ++i) {
    Defined one;
    one.definition.uuid = new_uuid();
    one.definition.owner.user = user;
    one.definition.text = std::string(size, '#');
    to.put(std::move(one));
  }
}

constexpr Definitions::Bound of_a_user = Definitions::of_a_user, of_a_master = Definitions::of_a_master;

TEST(DefinitionsTogether, AreNotTooMany) {
  Definitions all;
  add_definitions(all, of_a_user.count, 1, 0);
  Definition next = some();
  EXPECT_EQ(all.no_room_for(next, of_a_user), "user 1 has 1024 definitions already, and may have 1024");
  next.uuid = all.begin()->first;
  EXPECT_EQ(all.no_room_for(next, of_a_user), std::nullopt) << "it is there";
  next = some();
  next.owner.user = 0;
  add_definitions(all, of_a_master.count - 1, 0, 0);
  EXPECT_EQ(all.no_room_for(next, of_a_master), std::nullopt);
  add_definitions(all, 1, 0, 0);
  EXPECT_EQ(all.no_room_for(next, of_a_master), "user 0 has 4096 definitions already, and may have 4096");
}

// However many users have all that they may have: the next one, and root, define as if they were alone.
TEST(DefinitionsTogether, TakeNoRoomFromAnother) {
  constexpr std::size_t mib = 1 << 20;
  Definitions all;
  for (unsigned user = 1; user <= 6; ++user) add_definitions(all, of_a_user.count, user, 0);
  for (unsigned user = 11; user <= 14; ++user) add_definitions(all, of_a_user.bytes / mib, user, mib);
  Definition next = some();
  next.text = std::string(mib, '#');
  for (const unsigned user : {7u, 0u}) {
    next.owner.user = user;
    EXPECT_EQ(all.no_room_for(next, user == 0 ? of_a_master : of_a_user), std::nullopt) << user;
  }
  for (const unsigned user : {6u, 14u}) {
    next.owner.user = user;
    EXPECT_NE(all.no_room_for(next, of_a_user), std::nullopt) << user;
  }
}

TEST(DefinitionsTogether, AreNotTooLong) {
  constexpr std::size_t mib = 1 << 20;
  Definitions all;
  add_definitions(all, 15, 1, mib);
  Definition next = some();
  next.text = std::string(mib, '#');
  EXPECT_EQ(all.no_room_for(next, of_a_user), std::nullopt);
  next.text += '#';
  EXPECT_EQ(
      all.no_room_for(next, of_a_user),
      "user 1 has definitions with texts of 15728640 bytes already, and may have 16 MiB: this one has 1048577 bytes");
  add_definitions(all, 2, 1, mib);  // of before there was a bound
  next.uuid = all.begin()->first;
  EXPECT_NE(all.no_room_for(next, of_a_user), std::nullopt);
  next.text.pop_back();
  EXPECT_EQ(all.no_room_for(next, of_a_user), std::nullopt) << "it is no longer than it was";
  add_definitions(all, 64, 0, mib);
  next.uuid = some().uuid;
  next.owner.user = 0;
  EXPECT_THAT(all.no_room_for(next, of_a_master).value_or(""),
              HasSubstr("user 0 has definitions with texts of 67108864 bytes already, and may have 64 MiB"));
}

struct Wrong {
  const char* what;
  nlohmann::json change;
  const char* error;
};
const std::vector<Wrong>& wrong() {
  static const std::vector<Wrong> all{
      {"a newer version", {{"version", 3}}, "'version': 3, of which this daemon knows 1 to 2"},
      {"no version", {{"version", nullptr}}, "'version'"},
      {"a uuid that leaves the folder", {{"uuid", "../../etc/passwd"}}, "'uuid': expected a uuid"},
      {"a uuid in upper case", {{"uuid", "3BA1B3D8-52A4-4F2C-9B1E-0D5B8D0C4A10"}}, "'uuid': expected a uuid"},
      {"no name", {{"name", ""}}, "'name': found '', expected letters"},
      {"a name that leaves the folder", {{"name", "../one"}}, "'name': found '../one', expected letters"},
      {"no owner", {{"owner", nullptr}}, "'owner'"},
      {"another word", {{"autostart", "always"}}, "'autostart': expected \"off\", \"on\" or \"last\""},
      {"a negative order", {{"order", -1}}, "'order'"},
      {"no text", {{"text", nullptr}}, "'text'"}};
  return all;
}

TEST(DefinitionFile, IsRefusedWithWhatIsWrong) {
  for (const Wrong& one : wrong()) {
    nlohmann::json file = nlohmann::json::parse(write_definition(some()));
    file.merge_patch(one.change);
    const auto read = read_definition(file.dump());
    ASSERT_FALSE(read) << one.what;
    EXPECT_THAT(read.error(), HasSubstr(one.error)) << one.what;
  }
}

TEST(DefinitionTag, IsAnotherForAnythingElse) {
  const std::string tag = tag_of(some());
  EXPECT_EQ(tag, tag_of(some()));
  std::vector<Definition> others(10, some());
  others[0].text += ' ';
  others[1].file += ' ';
  others[2].text.pop_back();
  others[2].file = some().text.back() + others[2].file;
  others[3].directory += "/a";
  others[4].autostart = Autostart::on;
  others[5].order = 8;
  others[6].delay_seconds = 7;
  others[7].name = "two";
  others[8].owner.groups.pop_back();
  others[9].uuid[0] = 'f';
  std::set<std::string> tags{tag};
  for (const Definition& other : others) tags.insert(tag_of(other));
  EXPECT_EQ(tags.size(), 11u);
}

class Definitions : public testing::Test {
 protected:
  Definitions() { daemon_.restart(); }

  void define(const std::string& name, const std::string& more = "") {
    const auto defined = daemon_.define(name, more);
    ASSERT_TRUE(defined) << defined.error().message;
  }
  int change(const std::string& key, const DomainChange& change) {
    const auto changed = daemon_->change(key, change);
    return changed ? 0 : changed.error().status;
  }
  std::vector<std::string> shut_off() const {
    std::vector<std::string> names;
    for (const DomainInfo& domain : daemon_->list_shut_off()) names.push_back(domain.name);
    return names;
  }

  Folder folder_;
  TestDaemon daemon_{folder_.path()};
};

TEST_F(Definitions, OutliveTheirDomainsAndTheDaemon) {
  define("a");
  EXPECT_EQ(daemon_.shown("a"), "shut off");
  ASSERT_TRUE(daemon_->start("a", false));
  EXPECT_EQ(daemon_.shown("a"), "running");
  EXPECT_THAT(shut_off(), IsEmpty());
  const auto ended = daemon_->destroy("a");
  ASSERT_TRUE(ended) << ended.error().message;
  EXPECT_EQ(ended->state, "shut off");
  EXPECT_EQ(daemon_.left(), "");
  daemon_.restart();
  EXPECT_THAT(shut_off(), ElementsAre("a"));
  ASSERT_TRUE(daemon_->undefine("a"));
  EXPECT_EQ(daemon_.shown("a"), "");
  daemon_.restart();
  EXPECT_THAT(shut_off(), IsEmpty());
}

TEST_F(Definitions, KeepTheTextByteForByte) {
  const std::string text = daemon_.request("a").config + "# \t\r\n#no end";
  ASSERT_TRUE(daemon_.define("a", "# \t\r\n#no end"));
  EXPECT_EQ(daemon_->definition("a")->definition.text, text);
  daemon_.restart();
  EXPECT_EQ(daemon_->definition("a")->definition.text, text);
}

TEST_F(Definitions, HaveOneUuidForGood) {
  define("a");
  const std::string uuid = daemon_->find("a")->uuid;
  define("a", "vcpus = 2\n");
  EXPECT_EQ(daemon_->find("a")->uuid, uuid);
  const auto other = daemon_.define("a", "uuid = \"3ba1b3d8-52a4-4f2c-9b1e-0d5b8d0c4a10\"\n");
  ASSERT_FALSE(other);
  EXPECT_EQ(other.error().status, 409);
  EXPECT_THAT(other.error().message, HasSubstr(uuid));
  ASSERT_TRUE(daemon_->start(uuid, false));
  EXPECT_EQ(daemon_->find(uuid)->name, "a");
  std::string upper = uuid;
  for (char& c : upper) c = static_cast<char>(std::toupper(c));
  EXPECT_EQ(daemon_->find(upper)->name, "a") << "as a text may have it";
  ASSERT_TRUE(daemon_->destroy(upper));
  EXPECT_EQ(daemon_.shown(upper), "shut off");
  EXPECT_EQ(daemon_->find("a")->uuid, uuid);
  const auto taken = daemon_.define("b", "uuid = \"" + uuid + "\"\n");
  ASSERT_FALSE(taken);
  EXPECT_EQ(taken.error().status, 409);
  EXPECT_NE(taken.error().line, 0u) << "the place in the text";
}

TEST_F(Definitions, AreCheckedAsACreationIs) {
  const auto wrong = daemon_.define("a", "vcpus = 1000\n");
  ASSERT_FALSE(wrong);
  EXPECT_EQ(wrong.error().status, 400);
  EXPECT_EQ(wrong.error().line, 7u);
  const auto no_file = daemon_.define("a", "ramdisk = \"/no/such/file\"\n");
  ASSERT_FALSE(no_file);
  EXPECT_EQ(no_file.error().line, 7u);
  DefineRequest other{.name = "b", .as = daemon_.request("a")};
  const auto renamed = daemon_->define(other);
  ASSERT_FALSE(renamed);
  EXPECT_THAT(renamed.error().message, HasSubstr("found 'a', expected 'b'"));
  EXPECT_THAT(shut_off(), IsEmpty());
  folder_.write("text", "not a kernel");
  auto no_entry = test::make_elf({.note_type = 17});
  folder_.write("no-entry", std::string(no_entry.begin(), no_entry.end()));
  folder_.write("long", "");
  fs::resize_file(folder_.path("long"), (16 << 20) + 1);
  struct Unmet {
    std::string line;
    const char* error;
  };
  for (const auto& [line, error] :
       {Unmet{"kernel = \"" + folder_.path("text") + "\"", "kernel: neither ELF nor bzImage"},
        Unmet{"kernel = \"" + folder_.path("no-entry") + "\"", "PHYS32_ENTRY"},
        Unmet{"ramdisk = \"" + folder_.path("long") + "\"", "found 16777217 bytes, which is longer than 16 MiB"},
        Unmet{"epc = [\"size=1,package=1\"]", "there is no package 1: the machine has one, package 0"},
        Unmet{"epc = 257", "asked for 257 MiB of any one package; package 0 has 256 MiB in all"}}) {
    define("kept");
    for (const char* name : {"a", "kept"}) {
      const auto unmet = daemon_.define(name, line + "\n");
      ASSERT_FALSE(unmet) << line;
      EXPECT_EQ(unmet.error().status, 400) << unmet.error().message;
      EXPECT_EQ(unmet.error().line, 7u) << line;
      EXPECT_THAT(unmet.error().message, HasSubstr(error));
    }
    EXPECT_EQ(daemon_->definition("kept")->definition.text, daemon_.request("kept").config);
    ASSERT_TRUE(daemon_->undefine("kept"));
  }
  EXPECT_THAT(shut_off(), IsEmpty());
  // How much is free is a matter of the start.
  ASSERT_TRUE(daemon_.define("large", "epc = 200\n"));
  ASSERT_TRUE(daemon_.define("larger", "epc = 200\n"));
  ASSERT_TRUE(daemon_->start("large", false));
  const auto full = daemon_->start("larger", false);
  ASSERT_FALSE(full);
  EXPECT_EQ(full.error().status, 507);
  EXPECT_EQ(daemon_.shown("larger"), "shut off");
}

/// Neither the warnings of a text nor what stands before each of them is as long as somebody likes.
TEST_F(Definitions, AreAnsweredShortly) {
  DefineRequest request{.name = "a", .as = daemon_.request("a"), .condition = {}};
  for (unsigned i = 0; i < 10'000; ++i) request.as.config += "k" + std::to_string(i) + "=1;";
  request.as.file = std::string(4096, 'f');
  const auto defined = daemon_->define(request);
  ASSERT_TRUE(defined) << defined.error().message;
  EXPECT_EQ(defined->warnings.size(), 64u);
  std::size_t bytes = 0;
  for (const std::string& warning : defined->warnings) bytes += warning.size();
  EXPECT_LT(bytes, 64 * (4096 + 100u));
  request.as.file += 'f';
  for (const auto& error : {daemon_->define(request).error(), daemon_->add(request.as).error()}) {
    EXPECT_EQ(error.status, 400);
    EXPECT_EQ(error.message, "'file': 4097 bytes, expected 4096 at most");
    EXPECT_EQ(error.file, "");
  }
  request.as.file = "f";
  DefineRequest whole = request;
  whole.as.config = daemon_.request("a").config;
  whole.as.config.resize(1 << 20, '#');
  EXPECT_TRUE(daemon_->define(whole));
  whole.as.config += '#';
  EXPECT_THAT(daemon_->define(whole).error().message, "'config': 1048577 bytes, expected 1048576 at most");
  request.as.directory = "/" + std::string(4096, 'd');
  EXPECT_THAT(daemon_->define(request).error().message, HasSubstr("'directory': 4097 bytes"));
}

TEST_F(Definitions, ThatLiveAreKept) {
  define("a");
  ASSERT_TRUE(daemon_->start("a", false));
  EXPECT_EQ(daemon_->undefine("a").error().status, 409);
  EXPECT_EQ(daemon_->start("a", false).error().status, 409);
  EXPECT_EQ(change("a", {.name = "b"}), 409);
  EXPECT_EQ(change("a", {.autostart = Autostart::on, .order = 3, .delay_seconds = 4}), 0);
  const Definition now = daemon_->definition("a")->definition;
  EXPECT_EQ(now.autostart, Autostart::on);
  EXPECT_EQ(now.order, 3u);
  EXPECT_EQ(now.delay_seconds, 4u);
  EXPECT_THAT(daemon_->find("a")->differs, IsEmpty());
  define("a", "vcpus = 2\non_crash = \"restart\"\n");
  EXPECT_THAT(daemon_->find("a")->differs, ElementsAre("on_crash", "vcpus"));
  EXPECT_EQ(daemon_->find("a")->vcpus, 1u);
  ASSERT_TRUE(daemon_->destroy("a"));
  ASSERT_TRUE(daemon_->start("a", false));
  EXPECT_EQ(daemon_->find("a")->vcpus, 2u);
  EXPECT_THAT(daemon_->find("a")->differs, IsEmpty());
}

/// Beside the values, what relative paths and messages come from.
TEST_F(Definitions, DifferInTheirFolderAndFileToo) {
  define("a");
  ASSERT_TRUE(daemon_->start("a", false));
  const auto differs = [&](const std::function<void(CreateRequest&)>& change) {
    DefineRequest request{.name = "a", .as = daemon_.request("a"), .condition = {}};
    change(request.as);
    const auto defined = daemon_->define(request);
    EXPECT_TRUE(defined) << defined.error().message;
    return daemon_->find("a")->differs;
  };
  EXPECT_THAT(differs([](CreateRequest& as) { as.file += "x"; }), ElementsAre("file"));
  EXPECT_THAT(differs([](CreateRequest& as) { as.directory = "/"; }), IsEmpty()) << "all paths are absolute";
  fs::create_directory(folder_.path("b"));
  fs::copy_file(folder_.path("kernel"), folder_.path("b/kernel"));
  EXPECT_THAT(differs([this](CreateRequest& as) {
                as.config += "kernel = 'kernel'\nvcpus = '0x1'\n";
                as.directory = folder_.path();
              }),
              IsEmpty())
      << "it is the same file";
  EXPECT_THAT(differs([this](CreateRequest& as) {
                as.config += "kernel = 'kernel'\nvcpus = 2\n";
                as.directory = folder_.path("b");
                as.file += "x";
              }),
              ElementsAre("file", "kernel", "vcpus"));
  EXPECT_THAT(differs([this](CreateRequest& as) { as.config += "uuid = '" + daemon_->find("a")->uuid + "'\n"; }),
              IsEmpty())
      << "it has it";
}

TEST_F(Definitions, AreFoundWithTheirDomainsByTheNextDaemon) {
  define("a");
  ASSERT_TRUE(daemon_->start("a", false));
  const std::string uuid = daemon_->find("a")->uuid;
  daemon_.restart();
  EXPECT_EQ(daemon_.shown("a"), "running");
  EXPECT_EQ(daemon_->find(uuid)->name, "a");
  EXPECT_EQ(daemon_->start("a", false).error().status, 409);
  EXPECT_EQ(daemon_->undefine("a").error().status, 409);
  EXPECT_THAT(shut_off(), IsEmpty());
}

TEST_F(Definitions, AreRenamedInTheirText) {
  define("a");
  const std::string uuid = daemon_->find("a")->uuid;
  EXPECT_EQ(change("a", {.name = "b"}), 0);
  EXPECT_EQ(daemon_.shown("a"), "");
  const Definition now = daemon_->definition("b")->definition;
  EXPECT_EQ(now.uuid, uuid);
  std::string text = daemon_.request("a").config;
  text.replace(text.find("\"a\""), 3, "\"b\"");
  EXPECT_EQ(now.text, text);
  ASSERT_TRUE(daemon_->start("b", false));
  EXPECT_EQ(daemon_->find("b")->uuid, uuid);
}

TEST_F(Definitions, AndThoseThatAreGoneWhenTheyEndShareNoName) {
  define("a");
  ASSERT_TRUE(daemon_.add("b"));
  EXPECT_EQ(daemon_.add("a").error().status, 409);
  EXPECT_EQ(daemon_.define("b").error().status, 409);
  EXPECT_EQ(change("a", {.name = "b"}), 409);
  EXPECT_EQ(change("b", {.name = "a"}), 409);
  EXPECT_EQ(change("b", {.autostart = Autostart::on}), 409);
  EXPECT_EQ(daemon_->definition("b").error().status, 404);
  EXPECT_EQ(daemon_->undefine("b").error().status, 404);
  EXPECT_EQ(daemon_->undefine("c").error().status, 404);
  EXPECT_EQ(daemon_->destroy("a").error().status, 409);
  EXPECT_EQ(change("b", {.name = "c"}), 0);
}

/// docs/access.md: its owner, root and the daemon's own user may define it anew, and it stays its owner's.
TEST_F(Definitions, AreTheirOwnersToChange) {
  // A daemon that is not root's opens files for its own user and for root.
  const Owner own = own_user(), other{own.user == 0 ? 1000u : 0u, own.group, {}};
  fs::permissions(folder_.path(), fs::perms(0755));  // for the kernel that they name
  Definition theirs = some();
  theirs.owner = other;
  theirs.text = daemon_.request("one").config;
  ASSERT_TRUE(daemon_.registry().put(theirs));
  daemon_.restart();
  DefineRequest strangers{.name = "one", .as = daemon_.request("one")};
  strangers.as.owner.user = 2000;
  const auto refused = daemon_->define(strangers);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().status, 403);
  EXPECT_EQ(daemon_->definition("one")->definition, theirs);
  const auto taken = daemon_.define("one");
  ASSERT_TRUE(taken) << taken.error().message;
  EXPECT_EQ(taken->definition.owner, other) << "it stays theirs";
}

/// docs/daemon.md: of the groups, those that its owner had when defining it last.
TEST_F(Definitions, OpenFilesWithTheGroupsThatTheirOwnerHasNow) {
  if (own_user().user != 0) GTEST_SKIP() << "files are opened with the rights of other users by root alone";
  fs::permissions(folder_.path(), fs::perms(0755));
  const std::string secret = folder_.path() + "/secret";
  std::ofstream(secret) << "the group's";
  ASSERT_EQ(::chown(secret.c_str(), 0, 5000), 0);
  fs::permissions(secret, fs::perms(0640));
  const Owner in{1000, 1000, {5000}}, out{1000, 1000, {}};
  const auto define = [&](const Owner& who, const std::string& more) {
    DefineRequest request{.name = "a", .as = daemon_.request("a"), .condition = {}};
    request.as.config += more;
    request.as.owner = who;
    const auto defined = daemon_->define(request);
    return defined ? std::string() : defined.error().message;
  };
  const auto owner = [&] { return daemon_->definition("a")->definition.owner; };
  const std::string reads = "ramdisk = \"" + secret + "\"\n";
  EXPECT_EQ(define(in, ""), "");
  EXPECT_THAT(define(out, reads), HasSubstr("Permission denied")) << "the group was taken away";
  EXPECT_EQ(owner(), in) << "what was refused changes nothing";
  EXPECT_EQ(define(out, ""), "");
  EXPECT_EQ(owner(), out);
  EXPECT_EQ(define(in, reads), "") << "it has the group again";
  EXPECT_EQ(owner(), in);
  EXPECT_EQ(define(own_user(), reads), "") << "root changes the text, and no groups";
  EXPECT_EQ(owner(), in);
  ASSERT_TRUE(daemon_->start("a", false));
}

TEST_F(Definitions, AreNotOverwrittenUnseen) {
  define("a");
  const std::string tag = tag_of(daemon_->definition("a")->definition);
  const auto define_if = [&](const std::string& more, bool holds) {
    DefineRequest request{.name = "a", .as = daemon_.request("a")};
    request.as.config += more;
    std::string seen;
    request.condition = [&](const std::string* now) {
      if (now != nullptr && seen.empty()) seen = *now;  // it is asked again for what to say
      return holds;
    };
    const auto defined = daemon_->define(request);
    EXPECT_EQ(seen, tag);
    return defined ? 0 : defined.error().status;
  };
  EXPECT_EQ(define_if("vcpus = 2\n", false), 412);
  EXPECT_EQ(tag_of(daemon_->definition("a")->definition), tag);
  EXPECT_EQ(define_if("vcpus = 2\n", true), 0);
  EXPECT_NE(tag_of(daemon_->definition("a")->definition), tag);
}

TEST_F(Definitions, AreWhatTheyWereIfTheyCannotBeWritten) {
  define("a");
  const Definition before = daemon_->definition("a")->definition;
  daemon_.faults.fail(1, true);
  EXPECT_EQ(daemon_.define("a", "vcpus = 2\n").error().status, 500);
  EXPECT_EQ(daemon_.define("b").error().status, 500);
  EXPECT_EQ(change("a", {.name = "c"}), 500);
  EXPECT_EQ(change("a", {.autostart = Autostart::on}), 500);
  EXPECT_EQ(daemon_->undefine("a").error().status, 500);
  daemon_.faults.fail(0);
  EXPECT_EQ(daemon_->definition("a")->definition, before);
  EXPECT_THAT(shut_off(), ElementsAre("a"));
  daemon_.restart();
  EXPECT_EQ(daemon_->definition("a")->definition, before);
  EXPECT_THAT(shut_off(), ElementsAre("a"));
}

/// Whichever step of a start fails, the definition stays, and can be started.
TEST_F(Definitions, OutliveEachFailureOfAStart) {
  define("a");
  for (int number = 1;; ++number) {
    daemon_.faults.fail(number);
    const auto started = daemon_->start("a", false);
    const bool met = daemon_.faults.met();
    daemon_.faults.fail(0);
    if (!met) {
      EXPECT_TRUE(started);
      break;
    }
    if (started) {
      ASSERT_TRUE(daemon_->destroy("a"));
    }
    EXPECT_EQ(daemon_.shown("a"), "shut off") << "call " << number;
    EXPECT_EQ(daemon_.left(), "") << "call " << number;
  }
}

TEST_F(Definitions, ThatCannotBeReadAreSetAsideByName) {
  define("a");
  const fs::path folder = daemon_.paths.definitions();
  const std::string newer = "11111111-2222-4333-8444-555555555555.json",
                    twin = "ffffffff-2222-4333-8444-555555555555.json";
  std::ofstream(folder / newer) << R"({"version": 99})";
  Definition other = daemon_->definition("a")->definition;
  other.uuid = twin.substr(0, twin.size() - 5);
  std::ofstream(folder / twin) << write_definition(other);
  std::ofstream(folder / "a stray") << "";
  std::ofstream(folder / (twin + ".new")) << "half";
  daemon_.restart();
  EXPECT_EQ(shut_off().size(), 1u);
  EXPECT_TRUE(fs::exists(daemon_.paths.set_aside() / newer));
  EXPECT_EQ(fs::exists(folder / twin), !fs::exists(daemon_.paths.set_aside() / twin));
  EXPECT_TRUE(fs::exists(folder / "a stray"));
  EXPECT_FALSE(fs::exists(folder / (twin + ".new")));
}

/// Or two domains of one name would live.
TEST_F(Definitions, WhoseTextsHaveAnotherNameAreSetAside) {
  define("a");
  Definition other = some();
  other.owner = own_user();
  other.text = daemon_.request("a").config;
  ASSERT_TRUE(daemon_.registry().put(other));
  daemon_.restart();
  EXPECT_THAT(shut_off(), ElementsAre("a"));
  EXPECT_TRUE(fs::exists(daemon_.paths.set_aside() / (other.uuid + ".json")));
}

/// docs/daemon.md: so many, and no more; one that is there may be defined anew.
TEST_F(Definitions, AreNotEndless) {
  Definition one = some();
  for (std::size_t i = 0; i < 4096; ++i) {
    one.uuid.replace(0, 8, fmt::format("{:08x}", i));
    one.name = fmt::format("d{}", i);
    one.owner = own_user();
    one.text = daemon_.request(one.name).config;
    std::ofstream(daemon_.paths.definition(one.uuid)) << write_definition(one);
  }
  daemon_.restart();
  EXPECT_EQ(shut_off().size(), 4096u);
  const auto more = daemon_.define("more");
  ASSERT_FALSE(more);
  EXPECT_EQ(more.error().status, 507);
  EXPECT_TRUE(daemon_.define("d4095", "vcpus = 2\n"));
  ASSERT_TRUE(daemon_->undefine("d7"));
  EXPECT_TRUE(daemon_.define("more"));
}

/// Four users have all that a user may have: as many as were once for all together.
TEST_F(Definitions, OfSomeUsersAreNotAll) {
  if (own_user().user != 0) GTEST_SKIP() << "files are opened with the rights of other users by root alone";
  fs::permissions(folder_.path(), fs::perms(0755));  // for the kernel that they name
  const Owner one_user{1000, 1000, {}}, other{1004, 1004, {}};
  Definition one = some();
  for (unsigned i = 0; i < 4 * 1024; ++i) {
    one.uuid.replace(0, 8, fmt::format("{:08x}", i));
    one.name = fmt::format("d{}", i);
    one.owner.user = one.owner.group = one_user.user + i / 1024;
    one.text = daemon_.request(one.name).config;
    std::ofstream(daemon_.paths.definition(one.uuid)) << write_definition(one);
  }
  daemon_.restart();
  const auto define = [&](const std::string& name, const Owner& owner) {
    DefineRequest request{.name = name, .as = daemon_.request(name), .condition = {}};
    request.as.owner = owner;
    const auto defined = daemon_->define(request);
    return defined ? 200 : defined.error().status;
  };
  EXPECT_EQ(define("more", one_user), 507);
  EXPECT_EQ(define("more", other), 200);
  EXPECT_EQ(define("roots", own_user()), 200);
  ASSERT_TRUE(daemon_->undefine("d7"));
  EXPECT_EQ(define("d7", one_user), 200);
}

/// A longer name is a longer text.
TEST_F(Definitions, AreNoLongerByTheirNames) {
  Definition one = some();
  one.owner = {1000, 1000, {}};
  const auto put = [&](std::size_t number, std::size_t size) {
    one.uuid.replace(0, 8, fmt::format("{:08x}", number));
    one.name = fmt::format("d{}", number);
    one.text = daemon_.request(one.name).config;
    one.text.resize(size, '#');
    std::ofstream(daemon_.paths.definition(one.uuid)) << write_definition(one);
  };
  for (std::size_t i = 0; i < 32; ++i) put(i, 1 << 19);
  daemon_.restart();
  EXPECT_EQ(change("d1", {.name = "more"}), 507);
  EXPECT_EQ(change("d1", {.name = "x"}), 0);
  EXPECT_EQ(change("d2", {.name = "y1"}), 0);
}

TEST_F(Definitions, ThatThisVersionCannotStartSayWhy) {
  Definition odd = some();
  odd.owner = own_user();
  odd.text = "name = \"one\"\nno_such_key_of_ours =\n";
  ASSERT_TRUE(daemon_.registry().put(odd));
  daemon_.restart();
  EXPECT_THAT(shut_off(), ElementsAre("one"));
  const auto started = daemon_->start("one", false);
  ASSERT_FALSE(started);
  EXPECT_EQ(started.error().line, 2u);
  ASSERT_TRUE(daemon_->undefine("one"));
}

}  // namespace
}  // namespace cloister::tests
