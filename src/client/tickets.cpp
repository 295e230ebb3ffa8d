// `cloister tickets`: the tickets of files in which domains are saved with their enclaves, and what may be done to
// them.
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "client/api.hpp"
#include "client/client.hpp"
#include "client/print.hpp"
#include "text/table.hpp"

namespace cloister::toolstack::client {

namespace {

std::string tickets_text(const Json& tickets) {
  Table table({"TICKET", ">UID", "SAVED", "DOMAIN", "FILE"});
  for (const Json& one : tickets)
    table.add({one.value("ticket", ""), std::to_string(one.value("uid", u64{0})), one.value("made", "-"),
               one.value("domain", "-"), one.value("file", "-")});
  return table.text();
}

}  // namespace

int tickets(const Common& common) {
  const auto answer = Api(common.run_folder).get("/v1/tickets");
  if (!answer) return report(answer.error());
  return common.json ? print_json(*answer) : print(tickets_text(printable_texts(*answer)));
}

int erase_ticket(const Common& common, const std::string& ticket) {
  const auto answer = Api(common.run_folder).remove(ticket_path(ticket));
  if (!answer) return report(answer.error());
  if (common.json) return print_json(*answer);
  spdlog::info("cloister: {} is erased: what its file has goes on without its enclaves", ticket);
  return 0;
}

}  // namespace cloister::toolstack::client
