// The verbs of defined domains, and those of the host's going down, against a stand-in for cloisterd.
#include <gmock/gmock.h>

#include <cstdlib>
#include <fstream>
#include <map>

#include "host/exit_status.hpp"
#include "host/owner.hpp"
#include "unit/toolstack/client_fixture.hpp"

namespace cloister::toolstack::client {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

/// No newline at its end, and one of another system.
constexpr const char* text = "name = 'd'\r\nmemory = 64 # \xc3\xa9";

class Definitions : public Client {
 protected:
  Definitions() {
    ::setenv("TMPDIR", folder_.c_str(), 1);
    ::unsetenv("VISUAL");
  }
  ~Definitions() override {
    for (const char* name : {"TMPDIR", "EDITOR", "VISUAL"}) ::unsetenv(name);
  }

  static std::string definition() {
    return Json{{"name", "d"}, {"config", text}, {"file", "d.cfg"}, {"directory", "/there"}}.dump();
  }
  void serve_definition() { serve("GET", "/v1/domains/d/definition", 200, definition(), "\"before\""); }
  /// An editor that does this to "$1".
  void edit_by(const std::string& script) const {
    const std::string path = folder_ + "/an editor";
    std::ofstream(path) << "#!/bin/sh\n" << script;
    std::filesystem::permissions(path, std::filesystem::perms::owner_all);
    ::setenv("EDITOR", ("'" + path + "'").c_str(), 1);
  }
  std::string read(const std::string& name) const {
    std::ifstream file(folder_ + "/" + name, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  }
  /// The texts that edit() left behind.
  std::vector<std::string> kept() const {
    std::vector<std::string> all;
    for (const auto& entry : std::filesystem::directory_iterator(folder_)) {
      const std::string name = entry.path().filename();
      if (name.starts_with("cloister-") && name.ends_with(".cfg")) all.push_back(read(name));
    }
    return all;
  }
};

TEST_F(Definitions, AreMadeOfAFile) {
  serve("PUT", "/v1/domains/d", 201, definition());
  start();
  const std::string file = folder_ + "/d.cfg";
  std::ofstream(file, std::ios::binary) << text;
  const Result result = capture([&] { return define(common_, file); });
  EXPECT_EQ(result.status, 0);
  EXPECT_EQ(result.err, "cloister: d is defined\n");
  EXPECT_EQ(Json::parse(seen_.body),
            Json({{"config", text}, {"file", file}, {"directory", std::filesystem::current_path().string()}}));
  EXPECT_FALSE(seen_.has_header("If-Match"));
}

TEST_F(Definitions, HaveTheNameOfTheirText) {
  start();
  const std::string file = folder_ + "/d.cfg";
  for (const auto& [wrong, message] :
       std::map<std::string, std::string>{{"memory = 64\n", "d.cfg: the key 'name' is missing"},
                                          {"\nname = 'a/b'\n", "d.cfg:2:8: 'name': found 'a/b', expected letters"},
                                          {"name = ['a']\n", "d.cfg:1:8: 'name': found a list, expected letters"},
                                          {"name = 'd'\nmemory = \n", "d.cfg:2:10: "},
                                          {"# caf\xe9\n", "d.cfg:1:6: byte 0xe9: expected UTF-8"}}) {
    std::ofstream(file, std::ios::binary) << wrong;
    const Result result = capture([&] { return define(common_, file); });
    EXPECT_EQ(result.status, exit_status::bad_configuration) << wrong;
    EXPECT_THAT(result.err, HasSubstr(message)) << wrong;
  }
  EXPECT_THAT(asked_, ElementsAre());
}

TEST_F(Definitions, ArePrintedByteForByte) {
  serve_definition();
  start();
  EXPECT_EQ(capture([&] { return dumpcfg(common_, "d"); }).out, text);
}

TEST_F(Definitions, AreForgottenWithTheirKeys) {
  serve("DELETE", "/v1/domains/d/definition", 200, definition());
  serve("DELETE", "/v1/keys/group:db", 200, R"({"key": "group:db", "kind": "group", "used_by": []})");
  serve("POST", "/v1/domains/d/keys", 200, R"({"name": "d"})");
  serve(
      "GET", "/v1/keys", 200,
      R"([{"key": "group:db", "kind": "group", "used_by": ["d", "e"], "owner": {"uid": 7}, "last_use": "then", "domain": "d"},
            {"key": "group:x", "kind": "group", "used_by": [], "unread": "not JSON"}])");
  start();
  Result result = capture([&] { return undefine(common_, "d", true); });
  EXPECT_EQ(result.err, "cloister: d is not defined any more, and its keys are erased\n");
  EXPECT_EQ(seen_.get_param_value("keys"), "true");
  result = capture([&] { return erase_key(common_, "group:db"); });
  EXPECT_EQ(result.status, 0);
  EXPECT_THAT(result.err, HasSubstr("group:db is erased"));
  result = capture([&] { return move_keys(common_, "d", "private"); });
  EXPECT_EQ(Json::parse(seen_.body), Json({{"sgx_platform", "private"}}));
  EXPECT_THAT(result.err, HasSubstr("cannot be opened"));
  result = capture([&] { return client::keys(common_); });
  EXPECT_THAT(result.out, AllOf(HasSubstr("group:db  group    7  then      d   d, e"), HasSubstr("group:x: not JSON")));
}

TEST_F(Definitions, AreStartedForgottenAndStartedWithTheHost) {
  serve("POST", "/v1/domains/d/start", 201, R"({"id": 3, "name": "d", "placement": ""})");
  serve("DELETE", "/v1/domains/d/definition", 200, definition());
  serve("PATCH", "/v1/domains/d", 200, R"({"name": "d", "autostart": "last", "order": 7, "delay_seconds": 0})");
  serve("POST", "/v1/domains", 201, R"({"id": 4, "name": "d"})");
  start();
  Result result = capture([&] { return client::start(common_, "d", true, false); });
  EXPECT_EQ(result.err, "cloister: started d, domain 3\n");
  EXPECT_EQ(Json::parse(seen_.body), Json({{"paused", true}}));
  result = capture([&] { return undefine(common_, "d"); });
  EXPECT_EQ(result.err, "cloister: d is not defined any more\n");
  result = capture([&] { return autostart(common_, "d", {.word = "last", .order = 7}); });
  EXPECT_EQ(result.err, "cloister: d: autostart last, order 7, delay 0 s\n");
  EXPECT_EQ(Json::parse(seen_.body), Json({{"autostart", "last"}, {"order", 7}}));
  std::ofstream(folder_ + "/d.cfg") << text;
  capture([&] { return create(common_, {.file = folder_ + "/d.cfg", .persist = true}); });
  EXPECT_EQ(Json::parse(seen_.body)["persist"], true);
}

TEST_F(Definitions, AreListedWithTheReasonOfAFailure) {
  serve("GET", "/v1/domains", 200, R"([
    {"id": 5, "name": "web", "state": "running", "vcpus": 4, "memory_mib": 512, "epc_mib": 64, "cpu_seconds": 12.34},
    {"id": 0, "name": "off", "state": "shut off", "vcpus": 1, "memory_mib": 16, "epc_mib": 0, "cpu_seconds": 0,
     "failed": "cannot use kernel '/k'", "retried": false},
    {"id": 0, "name": "mail", "state": "shut off", "vcpus": 1, "memory_mib": 16, "epc_mib": 0, "cpu_seconds": 0,
     "failed": "no EPC", "retried": true}])");
  start();
  const Result result = capture([&] { return list(common_, true); });
  EXPECT_THAT(asked_, ElementsAre("GET /v1/domains?all=true"));
  EXPECT_EQ(result.out,
            "NAME  ID  STATE     VCPUS  MEM(MiB)  EPC(MiB)  CPU TIME(s)\n"
            "web    5  running       4       512        64         12.3\n"
            "off    -  shut off      1        16         0            -\n"
            "mail   -  shut off      1        16         0            -\n"
            "\n"
            "off was not started with the host: cannot use kernel '/k'\n"
            "\n"
            "mail could not be started with the host yet, and is tried again: no EPC\n");
}

/// What another user wrote neither moves the cursor nor looks like a line of its own.
TEST_F(Definitions, OfOthersSayNothingToTheTerminal) {
  const std::string wrote = R"(x\u001b]0;title\u0007\u009b1m\nweb is fine)", shown = "x?]0;title??1m?web is fine";
  serve("GET", "/v1/domains", 200, R"([{"id": 0, "name": "off", "state": "shut off", "failed": ")" + wrote + "\"}]");
  serve("GET", "/v1/domains/off", 200, R"({"id": 0, "silicon": ")" + wrote + "\"}");
  serve("GET", "/v1/host", 200,
        R"({"autostart": {"pending": [], "failed": [{"name": "off", "reason": ")" + wrote + "\"}]}}");
  serve("PUT", "/v1/domains/d", 200, R"({"name": "d", "warnings": [")" + wrote + "\"]}");
  serve("DELETE", "/v1/domains/d/definition", 400,
        R"({"error": {"message": ")" + wrote + R"(", "file": ")" + wrote + "\"}}");
  start();
  std::ofstream(folder_ + "/d.cfg") << text;
  EXPECT_THAT(capture([&] { return list(common_, true); }).out, HasSubstr(shown));
  EXPECT_THAT(capture([&] { return info(common_, "off", false); }).out, HasSubstr(shown));
  EXPECT_THAT(capture([&] { return host(common_); }).out, HasSubstr(shown));
  EXPECT_THAT(capture([&] { return define(common_, folder_ + "/d.cfg"); }).err, HasSubstr(shown));
  EXPECT_THAT(capture([&] { return undefine(common_, "d"); }).err, HasSubstr(shown + ": " + shown));
}

TEST_F(Definitions, AreShownWithWhatDiffers) {
  serve("GET", "/v1/domains/web", 200,
        R"({"id": 5, "uuid": "u", "name": "web", "state": "running", "differs": ["memory", "vcpus"], "epc": []})");
  serve("GET", "/v1/domains/same", 200, R"({"id": 6, "name": "same", "state": "running", "differs": [], "epc": []})");
  serve("GET", "/v1/domains/off", 200,
        R"({"id": 0, "name": "off", "state": "shut off", "pid": 0, "started": "", "autostart": "on", "epc": []})");
  start();
  EXPECT_THAT(
      capture([&] { return info(common_, "web", false); }).out,
      AllOf(HasSubstr("uuid     u\n"), HasSubstr("differs  memory, vcpus: as defined from its next start on\n")));
  EXPECT_THAT(capture([&] { return info(common_, "same", false); }).out, HasSubstr("differs  none\n"));
  EXPECT_EQ(capture([&] { return info(common_, "off", false); }).out,
            "name       off\nstate      shut off\nautostart  on\n");
}

TEST_F(Definitions, OfTheHostAreShown) {
  serve("GET", "/v1/host", 200,
        R"({"cpus": 2, "autostart": {"going_down": true, "pending": ["a", "b"],
            "failed": [{"name": "c", "reason": "no EPC", "retried": false},
                       {"name": "a", "reason": "no kernel", "retried": true}]}})");
  start();
  EXPECT_THAT(
      capture([&] { return host(common_); }).out,
      HasSubstr("autostart  the host goes down, none is started; to be started: a, b; c was not started: no EPC; "
                "a could not be started yet: no kernel\n"));
}

// The file is the user's own, and what is sent is what the editor left, for the text that it was shown.
TEST_F(Definitions, AreEdited) {
  serve_definition();
  serve("PUT", "/v1/domains/d", 200, definition());
  start();
  edit_by("cp \"$1\" '" + folder_ + "/shown'; stat -c '%a %n' \"$1\" >'" + folder_ + "/stat'; printf 'new\\r' >\"$1\"");
  const Result result = capture([&] { return edit(common_, "d"); });
  EXPECT_EQ(result.status, 0);
  EXPECT_EQ(result.err, "cloister: d is defined anew\n");
  EXPECT_EQ(seen_.get_header_value("If-Match"), "\"before\"");
  EXPECT_EQ(Json::parse(seen_.body), Json({{"config", "new\r"}, {"file", "d.cfg"}, {"directory", "/there"}}));
  EXPECT_EQ(read("shown"), text);
  EXPECT_THAT(read("stat"), testing::MatchesRegex("600 .*/cloister-......\\.cfg\n"));
  EXPECT_THAT(kept(), ElementsAre());
}

TEST_F(Definitions, ThatAreUnchangedAreLeft) {
  serve_definition();
  start();
  edit_by("touch \"$1\"");
  const Result result = capture([&] { return edit(common_, "d"); });
  EXPECT_EQ(result.status, 0);
  EXPECT_EQ(result.err, "cloister: d is unchanged\n");
  EXPECT_THAT(asked_, ElementsAre("GET /v1/domains/d/definition"));
  EXPECT_THAT(kept(), ElementsAre());
}

// There is nothing to keep, and nothing to edit again.
TEST_F(Definitions, WhoseEditorRemovesTheFileAreLeft) {
  serve_definition();
  start();
  edit_by("rm \"$1\"");
  const Result result = capture([&] { return edit(common_, "d"); });
  EXPECT_EQ(result.status, exit_status::bad_configuration);
  EXPECT_THAT(result.err, testing::MatchesRegex(".*/cloister-......\\.cfg: cannot read: No such file or directory\n"));
  EXPECT_THAT(asked_, ElementsAre("GET /v1/domains/d/definition"));
}

// A pipe that nobody writes to has no end.
TEST_F(Definitions, WhoseEditorLeavesAPipeAreLeft) {
  serve_definition();
  start();
  edit_by("rm \"$1\"; mkfifo \"$1\"");
  const Result result = capture([&] { return edit(common_, "d"); });
  EXPECT_EQ(result.status, exit_status::bad_configuration);
  EXPECT_THAT(result.err, HasSubstr(".cfg: cannot read: not a regular file\n"));
  EXPECT_THAT(asked_, ElementsAre("GET /v1/domains/d/definition"));
}

// Places are counted from 1; a key that is missing has none.
TEST_F(Definitions, WithoutAKeyAreRefusedAsAWhole) {
  serve("PUT", "/v1/domains/d", 400,
        R"({"error": {"message": "the key 'kernel' is missing", "file": "d.cfg", "line": 0, "column": 0}})");
  start();
  std::ofstream(folder_ + "/d.cfg") << "name = 'd'\n";
  EXPECT_EQ(capture([&] { return define(common_, folder_ + "/d.cfg"); }).err, "d.cfg: the key 'kernel' is missing\n");
}

struct KeptCase {
  const char* name;
  const char* script;
  int status;  ///< of the answer to PUT
  const char* body;
  int exit_status;
  const char* said;
  const char* kept;
};
void PrintTo(const KeptCase& c, std::ostream* out) { *out << c.name; }

class Kept : public Definitions, public testing::WithParamInterface<KeptCase> {};

// Here nobody sits at a terminal who could edit again.
TEST_P(Kept, IsWhatCouldNotBeDefined) {
  serve_definition();
  serve("PUT", "/v1/domains/d", GetParam().status, GetParam().body);
  start();
  edit_by(GetParam().script);
  const Result result = capture([&] { return edit(common_, "d"); });
  EXPECT_EQ(result.status, GetParam().exit_status);
  EXPECT_THAT(result.err, AllOf(HasSubstr(GetParam().said), HasSubstr("kept in " + folder_ + "/cloister-")));
  EXPECT_THAT(kept(), ElementsAre(GetParam().kept));
}

INSTANTIATE_TEST_SUITE_P(
    All, Kept,
    testing::Values(KeptCase{"wrong", "echo 'x = ' >\"$1\"", 400,
                             R"({"error": {"message": "expected a value", "file": "d.cfg", "line": 1, "column": 5}})",
                             exit_status::bad_configuration, "d.cfg:1:5: expected a value\n", "x = \n"},
                    KeptCase{"no_utf8", "printf '\\351' >\"$1\"", 200, "{}", exit_status::bad_configuration,
                             ":1:1: byte 0xe9: expected UTF-8\n", "\xe9"},
                    KeptCase{"somebody_else", "echo new >\"$1\"", 412, R"({"error": {"message": "no"}})",
                             exit_status::failed, "cloister: somebody else has changed d meanwhile; that stays\n",
                             "new\n"},
                    KeptCase{"forbidden", "echo new >\"$1\"", 403, R"({"error": {"message": "it is another's"}})",
                             exit_status::failed, "cloister: it is another's\n", "new\n"},
                    KeptCase{"editor_failed", "echo new >\"$1\"; exit 3", 200, "{}", exit_status::failed,
                             "cloister: the editor ended with status 3\n", "new\n"}),
    [](const auto& tested) { return std::string(tested.param.name); });

/// Domains that end at their power button, or do not; what is done to each, in order.
class HostDown : public Definitions {
 protected:
  struct Domain {
    std::string state = "running";
    bool ends = true;  ///< at its power button
    u64 instructions = 0, restarts = 0;
  };

  void serve_domains(const std::string& down) {
    serve("POST", "/v1/host/down", 200, down);
    serve("POST", "/v1/host/up", 200, "{}");
    serve("GET", "/v1/domains", [this](const httplib::Request&, httplib::Response& response) {
      Json list = Json::array();
      for (const auto& [id, domain] : domains_) list.push_back({{"id", id}, {"state", domain.state}});
      response.set_content(list.dump(), "application/json");
    });
    const auto with = [this](const std::function<void(int)>& act) {
      return [this, act](const httplib::Request& request, httplib::Response& response) {
        if (away_ > 0) {  // as a daemon that is ending
          --away_;
          response.status = 503;
          return;
        }
        const int id = std::stoi(request.matches[1]);
        const auto found = domains_.find(id);
        response.status = found == domains_.end() ? 404 : 200;
        const Domain domain = found == domains_.end() ? Domain() : found->second;
        const Json view{
            {"id", id}, {"state", domain.state}, {"instructions", domain.instructions}, {"restarts", domain.restarts}};
        response.set_content(view.dump(), "application/json");
        if (found != domains_.end()) act(id);
      };
    };
    serve("GET", R"(/v1/domains/(\d+))", with([this](int id) { at_look_(id); }));
    serve("POST", R"(/v1/domains/(\d+)/shutdown)", with([this](int id) {
            done_.push_back("press " + std::to_string(id));
            if (domains_[id].ends) domains_.erase(id);
            at_press_(id);
          }));
    serve("POST", R"(/v1/domains/(\d+)/host-save)",
          [this](const httplib::Request& request, httplib::Response& response) {
            const int id = std::stoi(request.matches[1]);
            if (domains_[id].state == "creating") {
              response.status = 409;
              response.set_content(R"({"error": {"message": "it is being created"}})", "application/json");
              return;
            }
            done_.push_back("save " + std::to_string(id));
            domains_.erase(id);
            response.status = 202;
            response.set_content("{}", "application/json");
          });
    serve("POST", R"(/v1/domains/(\d+)/unpause)", with([this](int id) {
            done_.push_back("unpause " + std::to_string(id));
            domains_[id].state = "running";
          }));
    serve("DELETE", R"(/v1/domains/(\d+))", with([this](int id) {
            done_.push_back("end " + std::to_string(id));
            domains_.erase(id);
          }));
    start();
  }

  std::map<int, Domain> domains_;
  std::vector<std::string> done_;
  std::function<void(int)> at_press_ = [](int) {}, at_look_ = [](int) {};
  int away_ = 0;
};

std::string stopping(int id, int order, int timeout, const char* how = "shutdown", unsigned user = 0) {
  return Json{{"name", "d" + std::to_string(id)},
              {"id", id},
              {"uuid", "u"},
              {"owner", to_json(Owner{.user = user, .group = 0, .groups = {}})},
              {"order", order},
              {"shutdown_timeout_seconds", timeout},
              {"on_host_shutdown", how}}
      .dump();
}

TEST_F(HostDown, EndsAllInTheirOrder) {
  domains_ = {{1, {}}, {2, {}}, {3, {.ends = false}}, {4, {}}, {5, {.state = "paused"}}};
  // Any number may be pressed at a time, but those of a lower order wait for the others' end.
  serve_domains(R"({"at_once": 8, "domains": [)" + stopping(4, 9, 60) + "," + stopping(3, 5, 0) + "," +
                stopping(2, 2, 60, "destroy") + "," + stopping(5, 1, 60) + "," + stopping(1, 0, 60) + "]}");
  const Result result = capture([&] { return host_down(common_); });
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(done_, ElementsAre("press 4", "press 3", "end 3", "end 2", "end 5", "press 1"));
  EXPECT_EQ(result.err,
            "cloister: stops 5 domains, 8 of each user's at a time, in at most 288 s\n"
            "cloister: d4 was asked to shut down, and has 60 s\n"
            "cloister: d4 has ended, 1 of 5 stopped\n"
            "cloister: d3 was asked to shut down, and has 0 s\n"
            "cloister: d3 still runs after 0 s, and is ended\n"
            "cloister: d3 has ended, 2 of 5 stopped\n"
            "cloister: d2 has ended, 3 of 5 stopped\n"
            "cloister: d5 has ended, 4 of 5 stopped\n"
            "cloister: d1 was asked to shut down, and has 60 s\n"
            "cloister: d1 has ended, 5 of 5 stopped\n"
            "cloister: no domain runs\n");
}

// Where the host goes down while it comes up, to press its button would lose what is to go on.
TEST_F(HostDown, SavesOneThatIsBeingCreatedWhenItHasBeen) {
  domains_ = {{1, {.state = "creating"}}};
  int looks = 0;
  at_look_ = [&](int id) {
    if (++looks == 3) domains_[id].state = "running";
  };
  serve("GET", "/v1/domains/d1", 200, R"({"name": "d1", "goes_on": true})");
  serve_domains(R"({"at_once": 8, "domains": [)" + stopping(1, 0, 60, "save") + "]}");
  const Result result = capture([&] { return host_down(common_); });
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(done_, ElementsAre("save 1"));
  EXPECT_THAT(result.err, HasSubstr("cloister: d1 is saved, 1 of 1 stopped\n"));
}

// Each ends only when another one was pressed, too, but for the last.
TEST_F(HostDown, EndsSoManyAtATime) {
  std::string list;
  for (int id = 1; id <= 5; ++id) {
    domains_[id] = {.ends = false};
    list += (id == 1 ? "" : ",") + stopping(id, 0, 60);
  }
  std::ptrdiff_t most = 0;
  const auto pressed = [&] {
    return std::ranges::count_if(domains_, [](const auto& d) { return d.second.state == "shutting_down"; });
  };
  at_press_ = [&](int id) {
    domains_[id].state = "shutting_down";
    most = std::max(most, pressed());
  };
  at_look_ = [&](int id) {
    if (domains_[id].state == "shutting_down" && (pressed() > 1 || domains_.size() == 1)) domains_.erase(id);
  };
  serve_domains(R"({"at_once": 2, "domains": [)" + list + "]}");
  const Result result = capture([&] { return host_down(common_); });
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(result.err, HasSubstr("5 of 5 stopped\n"));
  EXPECT_EQ(most, 2);
  EXPECT_EQ(done_.size(), 5u);  // presses alone
}

// Two of one user's have the highest order, all the time of the day, and end only when all others have.
TEST_F(HostDown, NoUserWaitsForAnother) {
  domains_ = {{1, {}}, {2, {}}, {3, {}}, {4, {.ends = false}}, {5, {.ends = false}}};
  at_press_ = [&](int id) {
    if (domains_.contains(id)) domains_[id].state = "shutting_down";
  };
  at_look_ = [&](int id) {
    if (domains_[id].state == "shutting_down" && domains_.size() <= 2) domains_.erase(id);
  };
  serve_domains(R"({"at_once": 1, "domains": [)" + stopping(5, 9, 86'400, "shutdown", 1000) + "," +
                stopping(4, 9, 86'400, "shutdown", 1000) + "," + stopping(3, 2, 60, "shutdown", 1001) + "," +
                stopping(2, 1, 60) + "," + stopping(1, 0, 60) + "]}");
  const Result result = capture([&] { return host_down(common_); });
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(done_.back(), "press 4") << result.err;
  EXPECT_THAT(done_, testing::UnorderedElementsAre("press 5", "press 3", "press 2", "press 1", "press 4"));
  EXPECT_THAT(result.err, HasSubstr("cloister: stops 5 domains, 1 of each user's at a time, in at most 1523 s\n"));
  EXPECT_THAT(result.err, HasSubstr("cloister: d5 was asked to shut down, and has 715 of its 86400 s\n"));
  EXPECT_THAT(result.err, HasSubstr("cloister: d1 was asked to shut down, and has 60 s\n"));
}

// As at SIGTERM to its process: a guest that was stopped in its midst shuts down, one that has shut down is not started
// again.
TEST_F(HostDown, IsSeenByPausedGuestsAndByThoseThatWouldStartAnew) {
  domains_ = {{1, {.state = "paused", .instructions = 9}}, {2, {.ends = false}}, {3, {.state = "halted"}}};
  at_press_ = [&](int id) {
    if (id == 2) ++domains_[id].restarts;
  };
  serve_domains(R"({"at_once": 1, "domains": [)" + stopping(3, 0, 60) + "," + stopping(2, 0, 60) + "," +
                stopping(1, 0, 60) + "]}");
  const Result result = capture([&] { return host_down(common_); });
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(done_, ElementsAre("end 3", "press 2", "end 2", "unpause 1", "press 1"));
}

TEST_F(HostDown, OutlivesARestartOfTheDaemonAndDomainsThatHaveGone) {
  domains_ = {{1, {}}};
  away_ = 2;
  serve_domains(R"({"at_once": 1, "domains": [)" + stopping(7, 3, 60) + "," + stopping(1, 0, 60) + "]}");
  const Result result = capture([&] { return host_down(common_); });
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(done_, ElementsAre("press 1"));
  EXPECT_THAT(result.err, HasSubstr("d7 has ended, 1 of 2 stopped\n"));
  EXPECT_THAT(result.err, HasSubstr("cloister: cloisterd does not answer, and is waited for, 60 s at most\n"));
}

// Which is worth a word at the end, when there may be room: it ends them all the same.
TEST_F(HostDown, FailsAfterTheirEndIfItIsNotKnownWhatRan) {
  domains_ = {{1, {}}};
  serve_domains(R"({"at_once": 1, "not_noted": "no space left", "domains": [)" + stopping(1, 0, 60) + "]}");
  const Result result = capture([&] { return host_down(common_); });
  EXPECT_EQ(result.status, exit_status::failed);
  EXPECT_THAT(done_, testing::Contains("press 1"));
  EXPECT_THAT(result.err, HasSubstr("no domain runs, but cloisterd cannot write down which ones ran: no space left\n"));
}

TEST_F(HostDown, FailsWhileADomainLives) {
  domains_ = {{1, {}}};
  serve_domains(R"({"at_once": 1, "domains": []})");
  const Result result = capture([&] { return host_down(common_); });
  EXPECT_EQ(result.status, exit_status::failed);
  EXPECT_EQ(result.err, "cloister: there are still domains: 1\n");
  EXPECT_EQ(capture([&] { return host_up(common_); }).err, "cloister: the host is up\n");
}

std::size_t count_of(const std::string& whole, const std::string& part) {
  std::size_t count = 0;
  for (std::size_t at = 0; (at = whole.find(part, at)) != std::string::npos; ++at) ++count;
  return count;
}

// Once in all: not anew for each domain, each of its requests and the look at what is left.
TEST_F(HostDown, GivesADaemonThatHasGoneItsPatienceOnce) {
  std::string list;
  for (int id = 1; id <= 6; ++id) {
    domains_[id] = {.ends = false};
    list += (id == 1 ? "" : ",") + stopping(id, id, 60);
  }
  at_press_ = [&](int) { away_ = 1'000'000; };
  serve_domains(R"({"at_once": 2, "domains": [)" + list + "]}");
  const auto begun = std::chrono::steady_clock::now();
  const Result result = capture([&] { return host_down(common_, {.in_all = std::chrono::seconds(2)}); });
  EXPECT_LT(std::chrono::steady_clock::now() - begun, std::chrono::seconds(2 + 8)) << "a busy host";
  EXPECT_EQ(result.status, exit_status::failed);
  EXPECT_EQ(count_of(result.err, "does not answer, and is waited for, 2 s at most"), 1u) << result.err;
  EXPECT_THAT(result.err, HasSubstr("cloisterd does not answer, and these are not stopped: "));
  for (int id = 1; id <= 6; ++id) EXPECT_THAT(result.err, HasSubstr("d" + std::to_string(id)));
}

// As one that is stopped by SIGSTOP, or hangs: the kernel takes connections and requests for it.
TEST_F(HostDown, CountsADaemonThatSaysNothingAsOneThatDoesNotAnswer) {
  const Fd listening = listen();
  const auto begun = std::chrono::steady_clock::now();
  const HostPatience patience{.in_all = std::chrono::seconds(2), .an_answer = std::chrono::milliseconds(500)};
  const Result result = capture([&] { return host_down(common_, patience); });
  EXPECT_LT(std::chrono::steady_clock::now() - begun, std::chrono::seconds(2 + 8));
  EXPECT_EQ(result.status, exit_status::failed);
  EXPECT_EQ(count_of(result.err, "does not answer, and is waited for, 2 s at most"), 1u) << result.err;
  EXPECT_THAT(result.err, HasSubstr("did not answer within"));
}

// The daemon waits for a domain that hangs, and answers then. That is no silence of its own, also when it has been away
// for all of the time that it is given but for a moment.
TEST_F(HostDown, TellsADomainThatHangsFromADaemonThatDoes) {
  static_assert(daemon_answer > 2 * domain_reply && daemon_answer > domain_death);
  using std::chrono::milliseconds;
  domains_ = {{1, {.ends = false}}};
  at_press_ = [](int) { std::this_thread::sleep_for(milliseconds(2'500)); };
  away_ = 4;
  serve_domains(R"({"at_once": 1, "domains": [)" + stopping(1, 0, 1) + "]}");
  const HostPatience patience{.in_all = std::chrono::seconds(2), .an_answer = milliseconds(30'000)};
  const Result result = capture([&] { return host_down(common_, patience); });
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_THAT(done_, ElementsAre("press 1", "end 1")) << result.err;
}

TEST_F(HostDown, WaitsNoLongerThanItsPatience) {
  const Result result = capture([&] { return host_down(common_, {.in_all = std::chrono::seconds(0)}); });
  EXPECT_EQ(result.status, exit_status::failed);
  EXPECT_THAT(result.err, HasSubstr("cannot reach cloisterd"));
}

// Nothing that passes: a run folder that anybody could put a socket into is none to wait for.
TEST_F(HostDown, DoesNotWaitWhereItMayNotAsk) {
  serve_domains("{}");
  std::filesystem::permissions(folder_, std::filesystem::perms(0777));
  const auto begun = std::chrono::steady_clock::now();
  for (const auto& verb : {+[](const Common& common) { return host_down(common); },
                           +[](const Common& common) { return host_up(common); }}) {
    const Result result = capture([&] { return verb(common_); });
    EXPECT_EQ(result.status, exit_status::failed);
    EXPECT_THAT(result.err, AllOf(HasSubstr("cannot reach cloisterd"), testing::Not(HasSubstr("waited for"))));
  }
  EXPECT_LT(std::chrono::steady_clock::now() - begun, std::chrono::seconds(30));
}

}  // namespace
}  // namespace cloister::toolstack::client
