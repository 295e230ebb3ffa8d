// `cloister`'s verbs against a stand-in for cloisterd on a Unix socket: what they ask, what they print, how they end.
#include "client/client.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "client/api.hpp"
#include "host/exit_status.hpp"
#include "run/run.hpp"
#include "text/table.hpp"
#include "unit/toolstack/client_fixture.hpp"

namespace cloister::toolstack::client {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr const char* two_domains = R"([
  {"id": 1, "name": "web", "state": "running", "vcpus": 4, "memory_mib": 512, "epc_mib": 64, "cpu_seconds": 12.34},
  {"id": 12, "name": "a-longer-name", "state": "paused", "vcpus": 1, "memory_mib": 16, "epc_mib": 0, "cpu_seconds": 0}
])";

TEST_F(Client, ListsDomainsInColumns) {
  serve("GET", "/v1/domains", 200, two_domains);
  start();
  const Result result = capture([&] { return list(common_, false); });
  EXPECT_EQ(result.status, 0);
  EXPECT_EQ(result.out,
            "NAME           ID  STATE    VCPUS  MEM(MiB)  EPC(MiB)  CPU TIME(s)\n"
            "web             1  running      4       512        64         12.3\n"
            "a-longer-name  12  paused       1        16         0          0.0\n");
}

TEST_F(Client, PrintsTheAnswerAsJson) {
  serve("GET", "/v1/domains", 200, two_domains);
  start();
  common_.json = true;
  const Result result = capture([&] { return list(common_, false); });
  EXPECT_EQ(Json::parse(result.out), Json::parse(two_domains));
}

TEST_F(Client, ShowsEpcByPackage) {
  serve("GET", "/v1/epc", 200, R"({"total_pages": 65536, "free_pages": 49152, "granted_pages": 16383,
    "withdrawn_pages": 1, "keys": "shared", "packages": [{"package": 0, "total_pages": 65536,
    "free_pages": 49152, "granted_pages": 16383, "withdrawn_pages": 1, "largest_free_extent": 40000,
    "sections": [{"base": 4294967296, "node": 2, "pages": 65536}]}]})");
  start();
  EXPECT_THAT(capture([&] { return sgx_info(common_); }).out,
              AllOf(HasSubstr("free_pages       49152\n"), HasSubstr("withdrawn_pages  1\n"),
                    HasSubstr("0x100000000-0x10fffffff (256 MiB) on node 2")));
}

TEST_F(Client, ShowsWhoHasWhichEpc) {
  serve("GET", "/v1/epc/domains", 200, R"([
    {"id": 1, "name": "still", "epc_mib": 4, "pages": 512, "extents": [],
     "balloon": {"target_pages": 1024, "given_pages": 512, "lacking_pages": 512}},
    {"id": 2, "name": "paged", "epc_mib": 8, "pages": 384, "extents": [],
     "paging": {"mode": "trap", "min_pages": 256, "target_pages": 512, "held_pages": 384, "active_pages": 256,
                "resident_pages": 320, "evicted_pages": 1024, "loads": 1, "evictions": 1},
     "balloon": {"target_pages": 2048, "given_pages": 0, "lacking_pages": 0}},
    {"id": 3, "name": "older", "epc_mib": 1, "pages": 256, "extents": []}])");
  start();
  EXPECT_EQ(capture([&] { return epc(common_, 0); }).out,
            "NAME   ID  EPC(MiB)  MIN(MiB)  TARGET(MiB)  HAS(MiB)  ACTIVE(MiB)  RESIDENT(MiB)  OUT(MiB)  BY    "
            "ASKED(MiB)  GIVEN(MiB)\n"
            "still   1         4       2.0          2.0       2.0            -              -         -  -       "
            "     4.0         2.0\n"
            "paged   2         8       1.0          2.0       1.5          1.0            1.2       4.0  trap    "
            "     8.0         0.0\n"
            "older   3         1       1.0          1.0       1.0            -              -         -  -       "
            "       -           -\n");
}

TEST_F(Client, ShowsPoliciesSideBySide) {
  const auto stage = [](u32 leaf7_ecx, Json hash, bool writable) {
    return Json{
        {"cpuid", {{{"leaf", 7}, {"subleaf", 0}, {"eax", 0}, {"ebx", 4}, {"ecx", leaf7_ecx}, {"edx", 0}}}},
        {"msrs",
         {{{"index", 0x8c}, {"name", "IA32_SGXLEPUBKEYHASH0"}, {"value", std::move(hash)}, {"writable", writable}}}}};
  };
  const Json with = stage(1u << 30, "0x1234", true), without = stage(0, nullptr, false);
  const Json answer{{"raw", with},     {"host", with},      {"maximum", with},
                    {"default", with}, {"domain", without}, {"sgx_provision", true}};
  serve("GET", "/v1/domains/d/policy", 200, answer.dump());
  start();
  const Result result = capture([&] { return info(common_, "d", true); });
  EXPECT_EQ(result.status, 0);
  EXPECT_EQ(result.out,
            "CPUID           RAW      HOST   MAXIMUM   DEFAULT    DOMAIN  FEATURES\n"
            "0x7.0 ebx  00000004  00000004  00000004  00000004  00000004  sgx\n"
            "0x7.0 ecx  40000000  40000000  40000000  40000000  00000000  -sgxlc\n"
            "\n"
            "MSR                       RAW    HOST  MAXIMUM  DEFAULT  DOMAIN  WRITABLE\n"
            "IA32_SGXLEPUBKEYHASH0  0x1234  0x1234   0x1234   0x1234     #GP  no\n"
            "\n"
            "sgx_provision  yes\n");
}

TEST_F(Client, CreatesFromAFile) {
  serve("POST", "/v1/domains", 201, R"({"id": 3, "name": "d", "placement": "package 0 is the only one"})");
  start();
  const std::string file = folder_ + "/d.cfg";
  std::ofstream(file) << "name = 'd'\n";
  testing::internal::CaptureStderr();
  EXPECT_EQ(create(common_, {.file = file, .paused = true, .console = false}), 0);
  testing::internal::GetCapturedStderr();
  EXPECT_EQ(Json::parse(seen_.body), Json({{"config", "name = 'd'\n"},
                                           {"file", file},
                                           {"directory", std::filesystem::current_path().string()},
                                           {"paused", true}}));
}

TEST_F(Client, AsksAGuestByTheTablesRow) {
  constexpr VerbArgument arguments[] = {{"times", "TIMES", ""}};
  const GuestVerbRow plain{GuestVerb::pause, false, "sit", "", "sits"},
      with{GuestVerb::pause, false, "clap", "", "claps", arguments};
  serve("POST", "/v1/domains/d/sit", 200, R"({"name": "d"})");
  serve("POST", "/v1/domains/d/clap", 200, R"({"name": "d"})");
  start();
  testing::internal::CaptureStderr();
  EXPECT_EQ(ask(common_, "d", plain), 0);
  EXPECT_EQ(seen_.body, "");
  EXPECT_EQ(ask(common_, "d", with, {{"times", 2}}), 0);
  EXPECT_EQ(Json::parse(seen_.body), Json({{"times", 2}}));
  testing::internal::GetCapturedStderr();
}

// Asked for by its uuid, and renamed meanwhile.
TEST_F(Client, WaitsForTheEndOfTheDomainThatWasAsked) {
  constexpr const char* uuid = "C7A5FDBD-EDAF-9455-926A-D65C16DB1809";
  const GuestVerbRow sit{GuestVerb::pause, false, "sit", "", "sits"};
  serve("POST", domain_path(uuid, "/sit"), 200, R"({"id": 3, "name": "d"})");
  int looks = 0;
  serve("GET", "/v1/domains", [&](const httplib::Request&, httplib::Response& response) {
    response.set_content(
        ++looks < 3 ? R"([{"id": 2, "name": "d"}, {"id": 3, "name": "e"}])" : R"([{"id": 2, "name": "d"}])",
        "application/json");
  });
  start();
  const Result result = capture([&] { return ask(common_, uuid, sit, {}, true); });
  EXPECT_EQ(result.status, 0);
  EXPECT_EQ(looks, 3);
  EXPECT_THAT(result.err, HasSubstr("has ended"));
}

// JSON can hold no other bytes.
TEST_F(Client, RefusesAConfigurationThatIsNotUtf8) {
  start();
  const std::string file = folder_ + "/d.cfg";
  std::ofstream(file) << "name = 'd'\n# caf\xe9\n";
  EXPECT_EQ(create(common_, {.file = file, .paused = false, .console = false}), exit_status::bad_configuration);
  EXPECT_EQ(seen_.body, "");
}

TEST_F(Client, PrintsAnyConsoleAsJson) {
  serve("GET", "/v1/domains/d/console", 200, "a\xff\xc3(z");
  start();
  common_.json = true;
  const Result result = capture([&] { return dmesg(common_, "d"); });
  EXPECT_EQ(result.status, 0);
  EXPECT_EQ(Json::parse(result.out)["console"], "a\xef\xbf\xbd\xef\xbf\xbd(z");
}

// A name is one segment of the path, whatever is in it.
TEST_F(Client, EscapesNames) { EXPECT_EQ(domain_path("a/b ?é", "/pause"), "/v1/domains/a%2Fb%20%3F%C3%A9/pause"); }

struct ErrorCase {
  const char* name;
  int status;
  const char* body;
  const char* message;
  int exit_status;
};
void PrintTo(const ErrorCase& c, std::ostream* out) { *out << c.name; }

class Errors : public Client, public testing::WithParamInterface<ErrorCase> {};

TEST_P(Errors, AreOneLineAndAStatus) {
  serve("GET", "/v1/domains/x", GetParam().status, GetParam().body);
  start();
  const auto answer = Api(folder_).get("/v1/domains/x");
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().message, GetParam().message);
  EXPECT_EQ(answer.error().exit_status, GetParam().exit_status);
}

INSTANTIATE_TEST_SUITE_P(
    Answers, Errors,
    testing::Values(ErrorCase{"unknown", 404, R"({"error": {"message": "there is no domain 'x'"}})",
                              "cloister: there is no domain 'x'", exit_status::failed},
                    ErrorCase{"configuration", 400,
                              R"({"error": {"message": "expected a number", "file": "d.cfg", "line": 3, "column": 7}})",
                              "d.cfg:3:7: expected a number", exit_status::bad_configuration},
                    ErrorCase{"no_reason", 500, "oops", "cloister: cloisterd answered with status 500 and no reason",
                              exit_status::failed},
                    ErrorCase{"wrong_types", 507, R"({"error": {"message": 7}})",
                              "cloister: cloisterd answered with status 507 and no reason", exit_status::failed},
                    ErrorCase{"not_json", 200, "hello", "cloister: cloisterd's answer to GET /v1/domains/x is not JSON",
                              exit_status::failed}),
    [](const auto& tested) { return std::string(tested.param.name); });

TEST_F(Client, SaysWhereItLookedForCloisterd) {
  const auto answer = Api(folder_).get("/v1/domains");
  ASSERT_FALSE(answer);
  EXPECT_THAT(answer.error().message, AllOf(HasSubstr(folder_ + "/cloisterd.sock"), HasSubstr("--run")));
}

TEST_F(Client, IsToldWhyThereIsNoAnswer) {
  const Fd listening = listen();
  const std::string at = "cloister: cloisterd at " + folder_ + "/cloisterd.sock ";
  const auto late = Api(folder_, std::chrono::milliseconds(500)).get("/v1/host");
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().message, at + "did not answer within 0.5 s");
  thread_ = std::thread([&] {
    for (int i = 0; i < 2; ++i) ::close(::accept(listening.get(), nullptr, nullptr));
  });
  const auto closed = Api(folder_).get("/v1/host");
  thread_.join();
  ASSERT_FALSE(closed);
  EXPECT_EQ(closed.error().message, at + "ended the connection before its answer");
}

}  // namespace
}  // namespace cloister::toolstack::client
