// save, snapshot and restore: cloisterd opens the file with the rights of who asks, and the domain's process writes it.
// How far it is shows at a terminal.
#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <filesystem>

#include "client/api.hpp"
#include "client/client.hpp"
#include "client/print.hpp"
#include "client/progress_line.hpp"
#include "host/exit_status.hpp"
#include "text/utf8.hpp"

namespace cloister::toolstack::client {
namespace {

/// As long as it takes to read all that a domain has.
constexpr std::chrono::milliseconds to_restore = std::chrono::hours(1);
constexpr useconds_t between_looks = 200'000;

Answer<Json> request_for(const std::string& file, const std::string& enclaves) {
  const std::string directory = std::filesystem::current_path().string();
  for (const std::string& path : {file, directory}) {
    if (find_invalid_utf8(path) != std::string::npos)
      return tl::unexpected(
          Failure{fmt::format("cloister: '{}' is not UTF-8", valid_utf8(path)), exit_status::bad_configuration});
  }
  Json request{{"file", file}, {"directory", directory}};
  if (!enclaves.empty()) request["enclaves"] = enclaves;
  return request;
}

u64 mib(const Json& save, const char* member) { return save.value(member, u64{0}) >> 20; }

/// Has it written, and looks on until that is over: the domain as it is then.
Answer<Json> written(const Common& common, const std::string& domain, const char* verb, const Json& request) {
  const Api api(common.run_folder);
  auto answer = api.post(domain_path(domain, verb), request);
  if (!answer) return answer;
  const std::string uuid = answer->value("uuid", ""), name = answer->value("name", domain);
  ProgressLine line;
  while (answer) {
    const std::string state = answer->value("state", "");
    const Json save = answer->value("save", Json::object());
    // Its file has its name a little before the domain has ended.
    if (!save.value("going", false) && state != "saving" && state != "ending") break;
    line.show(fmt::format("cloister: {}: {} MiB, of {} at most", name, mib(save, "bytes"), mib(save, "most_bytes")));
    ::usleep(between_looks);
    answer = api.get(domain_path(uuid));
  }
  line.clear();
  return answer;
}

}  // namespace

int save(const Common& common, const std::string& domain, const std::string& file, const std::string& enclaves,
         bool force) {
  auto request = request_for(file, enclaves);
  if (!request) return report(request.error());
  if (force) (*request)["replace"] = true;
  const auto answer = written(common, domain, "/save", *request);
  if (!answer) return report(answer.error());
  const std::string name = answer->value("name", domain);
  const Json save = answer->value("save", Json{{"failed", "cloisterd was started anew, and does not know why"}});
  if (const std::string why = save.value("failed", ""); !why.empty() && answer->value("ending", "") != "saved")
    return report({fmt::format("cloister: {} was not saved: {}", name, why), exit_status::failed});
  if (common.json) return print_json(*answer);
  spdlog::info("cloister: {} is saved in {}, {} its enclaves", name, file,
               save.value("enclaves", "") == "keep" ? "with" : "without");
  return 0;
}

int snapshot(const Common& common, const std::string& domain, const std::string& file, bool force) {
  auto request = request_for(file, "");
  if (!request) return report(request.error());
  if (force) (*request)["replace"] = true;
  const auto answer = written(common, domain, "/snapshot", *request);
  if (!answer) return report(answer.error());
  const std::string name = answer->value("name", domain);
  const Json save = answer->value(
      "save", Json{{"failed", "cloisterd was started anew, and does not know: the file is there if it was"}});
  if (const std::string why = save.value("failed", ""); !why.empty())
    return report({fmt::format("cloister: there is no snapshot of {}: {}", name, why), exit_status::failed});
  if (common.json) return print_json(*answer);
  spdlog::info("cloister: a snapshot of {} is in {}, without its enclaves, which go on with it", name, file);
  return 0;
}

int restore(const Common& common, const std::string& file, const std::string& enclaves, bool paused, bool attach) {
  auto request = request_for(file, enclaves);
  if (!request) return report(request.error());
  (*request)["paused"] = paused;
  const auto answer = Api(common.run_folder, to_restore).post("/v1/restore", *request);
  if (!answer) return report(answer.error());
  if (common.json) {
    if (const int status = print_json(*answer); status != 0) return status;
  } else {
    report_warnings(*answer);
    spdlog::info(
        "cloister: {} goes on from {}{}, domain {}{}", answer->value("name", ""), file,
        answer->value("snapshot", false) ? ", a snapshot" : "", answer->value("id", u64{0}),
        answer->value("enclaves", "") == "keep" ? ", with its enclaves" : "; the enclaves that it had are lost");
  }
  return attach ? console(common, std::to_string(answer->value("id", u64{0}))) : 0;
}

}  // namespace cloister::toolstack::client
