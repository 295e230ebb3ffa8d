// `cloister keys`: the keys of domains and of groups, and what may be done to them.
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "client/api.hpp"
#include "client/client.hpp"
#include "client/print.hpp"
#include "text/table.hpp"

namespace cloister::toolstack::client {

namespace {

std::string users_of(const Json& key) {
  std::string names;
  for (const Json& name : key.value("used_by", Json::array()))
    names.append(names.empty() ? "" : ", ").append(name.get<std::string>());
  return names.empty() ? "-" : names;
}

std::string keys_text(const Json& keys) {
  Table table({"KEY", "KIND", ">UID", "LAST USE", "BY", "IN USE BY"});
  std::string unread;
  for (const Json& key : keys) {
    const std::string name = key.value("key", ""), kind = key.value("kind", ""), why = key.value("unread", "");
    if (!why.empty()) unread += fmt::format("\n{}: {}\n", name, why);
    const std::string uid = why.empty() ? std::to_string(key.value("owner", Json::object()).value("uid", u64{0})) : "-";
    table.add({name, kind, uid, key.value("last_use", "-"), key.value("domain", "-"), users_of(key)});
  }
  return table.text() + unread;
}

}  // namespace

int keys(const Common& common) {
  const auto answer = Api(common.run_folder).get("/v1/keys");
  if (!answer) return report(answer.error());
  return common.json ? print_json(*answer) : print(keys_text(printable_texts(*answer)));
}

int erase_key(const Common& common, const std::string& key) {
  const auto answer = Api(common.run_folder).remove(key_path(key));
  if (!answer) return report(answer.error());
  if (common.json) return print_json(*answer);
  spdlog::info("cloister: {} is erased: what was sealed with it cannot be opened any more", key);
  return 0;
}

int move_keys(const Common& common, const std::string& domain, const std::string& to) {
  const auto answer = Api(common.run_folder).post(domain_path(domain, "/keys"), {{"sgx_platform", to}});
  if (!answer) return report(answer.error());
  if (common.json) return print_json(*answer);
  spdlog::info(
      "cloister: {} has keys of its own from its next start on: what its enclaves have sealed with the machine's "
      "cannot be "
      "opened from then on, nor reports of other domains be verified; sgx_platform = \"machine\" in its configuration "
      "takes "
      "it back",
      answer->value("name", domain));
  return 0;
}

}  // namespace cloister::toolstack::client
