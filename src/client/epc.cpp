// `cloister epc`: who has what of the machine's EPC, and who is to have more or less of it.
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <chrono>
#include <map>
#include <thread>

#include "arch/sizes.hpp"
#include "client/api.hpp"
#include "client/client.hpp"
#include "client/print.hpp"
#include "host/exit_status.hpp"
#include "text/table.hpp"

namespace cloister::toolstack::client {
namespace {

constexpr const char* by_domain = "/v1/epc/domains";

std::string mib_of(const Json& json, const char* field) {
  return fmt::format("{:.1f}", static_cast<double>(json.value(field, u64{0})) / arch::pages_per_mib);
}

/// What a domain's pager had done at the first look.
struct Paged {
  u64 loads = 0, evictions = 0;
};
Paged paged_of(const Json& paging) { return {paging.value("loads", u64{0}), paging.value("evictions", u64{0})}; }

std::string rate(u64 now, u64 before, double seconds) {
  return now < before ? "-" : fmt::format("{:.0f}", static_cast<double>(now - before) / seconds);
}

/// seconds: since `before` was seen; 0: nothing was.
std::string epc_table(const Json& domains, const std::map<u64, Paged>& before, double seconds) {
  std::vector<std::string> heads{"NAME",         ">ID",       ">EPC(MiB)",    ">MIN(MiB)",
                                 ">TARGET(MiB)", ">HAS(MiB)", ">ACTIVE(MiB)", ">RESIDENT(MiB)",
                                 ">OUT(MiB)",    "BY",        ">ASKED(MiB)",  ">GIVEN(MiB)"};
  if (seconds > 0) heads.insert(heads.end(), {">LOADS/s", ">EVICTIONS/s"});
  Table table(heads);
  for (const Json& domain : domains) {
    const u64 id = domain.value("id", u64{0});
    std::vector<std::string> row{domain.value("name", ""), std::to_string(id),
                                 std::to_string(domain.value("epc_mib", u64{0}))};
    const bool paged = domain.contains("paging");
    if (paged) {
      for (const char* field :
           {"min_pages", "target_pages", "held_pages", "active_pages", "resident_pages", "evicted_pages"})
        row.push_back(mib_of(domain["paging"], field));
      row.push_back(domain["paging"].value("mode", "-"));
    } else {
      const std::string all = mib_of(domain, "pages");
      row.insert(row.end(), {all, all, all, "-", "-", "-", "-"});
    }
    for (const char* field : {"target_pages", "given_pages"})
      row.push_back(domain.contains("balloon") ? mib_of(domain["balloon"], field) : "-");
    if (seconds > 0 && paged) {
      const auto first = before.find(id);
      const Paged now = paged_of(domain["paging"]), then = first == before.end() ? now : first->second;
      row.insert(row.end(), {rate(now.loads, then.loads, seconds), rate(now.evictions, then.evictions, seconds)});
    } else if (seconds > 0) {
      row.insert(row.end(), {"-", "-"});
    }
    table.add(std::move(row));
  }
  return table.text();
}

}  // namespace

int epc(const Common& common, double seconds) {
  const Api api(common.run_folder);
  std::map<u64, Paged> before;
  auto answer = api.get(by_domain);
  if (answer && seconds > 0) {
    for (const Json& domain : *answer) {
      if (domain.contains("paging")) before[domain.value("id", u64{0})] = paged_of(domain["paging"]);
    }
    std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
    answer = api.get(by_domain);
  }
  if (!answer) return report(answer.error());
  return common.json ? print_json(*answer) : print(epc_table(printable_texts(*answer), before, seconds));
}

int epc_set(const Common& common, const std::string& domain, const nlohmann::ordered_json& change) {
  if (change.empty()) {
    spdlog::error("cloister: epc-set: found no option, expected --min, --weight, or both");
    return exit_status::bad_configuration;
  }
  const auto answer = Api(common.run_folder).patch(domain_path(domain, "/epc"), change);
  if (!answer) return report(answer.error());
  if (common.json) return print_json(*answer);
  const Json& paging = (*answer)["paging"];
  spdlog::info("cloister: {} has at least {} MiB of EPC, and weighs {}", domain, mib_of(paging, "min_pages"),
               paging.value("weight", u64{0}));
  return 0;
}

}  // namespace cloister::toolstack::client
