// The table of docs/access.md, cell by cell: who may do what, and which requests take which right.
#include "daemon/access.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <regex>
#include <set>

#include "daemon/api.hpp"
#include "unit/daemon/test_daemon.hpp"
#include "unit/toolstack/run_cloister.hpp"

namespace cloister::tests {
namespace {

using namespace toolstack;

constexpr unsigned nobody = ~0u, root = 0, daemon_user = 900, owner_user = 1000, other_user = 1001;
constexpr std::array policies{AccessPolicy{}, AccessPolicy{.console = LeftTo::group},
                              AccessPolicy{.control = LeftTo::group},
                              AccessPolicy{.console = LeftTo::group, .control = LeftTo::group}};

Peer peer(unsigned user) { return {.pid = 1, .uid = user, .gid = 100, .groups = {}}; }
Owner owner(unsigned user) { return {.user = user, .group = 100, .groups = {}}; }

struct Row {
  std::string right;
  std::set<std::string> requests;
  std::string owners, roots, groups, others;
};

std::vector<Row> documented() {
  std::ifstream file(CLOISTER_SOURCE_DIR "/docs/access.md");
  const std::string cell = R"(([^|]*?) \| )";
  const std::regex form(R"(\| (see|create|console|control|keys|epc|save|host) \| )" + cell + cell + cell + cell + cell +
                        R"(([^|]*?) \|)");
  const std::regex request("`([^`]+)`");
  std::vector<Row> rows;
  for (std::string line; std::getline(file, line);) {
    std::smatch cells;
    if (!std::regex_match(line, cells, form)) continue;
    Row row{cells[1], {}, cells[4], cells[5], cells[6], cells[7]};
    const std::string requests = cells[3];
    for (std::sregex_iterator at(requests.begin(), requests.end(), request), end; at != end; ++at)
      row.requests.insert((*at)[1]);
    rows.push_back(row);
  }
  return rows;
}

/// What a cell says under a policy.
bool allowed(const std::string& cell, const AccessPolicy& policy) {
  if (cell == "`console`") return policy.console == LeftTo::group;
  if (cell == "`control`") return policy.control == LeftTo::group;
  EXPECT_TRUE(cell == "yes" || cell == "no") << cell;
  return cell == "yes";
}

TEST(Access, IsThatOfTheDocument) {
  const std::vector<Row> rows = documented();
  ASSERT_EQ(rows.size(), right_rows.size());
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const Row& row = rows[i];
    const Right right = right_rows[i].right;
    EXPECT_EQ(row.right, right_rows[i].name);
    EXPECT_EQ(&row_of(right), &right_rows[i]);
    for (const AccessPolicy& policy : policies) {
      SCOPED_TRACE(row.right);
      const auto ask = [&](unsigned user) { return may(peer(user), owner(owner_user), right, policy, daemon_user); };
      EXPECT_EQ(ask(owner_user), allowed(row.owners, policy));
      EXPECT_EQ(ask(root), allowed(row.roots, policy));
      EXPECT_EQ(ask(daemon_user), allowed(row.roots, policy));
      EXPECT_EQ(ask(other_user), allowed(row.groups, policy));
    }
    // Those do not reach the socket.
    EXPECT_EQ(row.others, "no");
  }
}

TEST(Access, RoutesTakeTheDocumentsRights) {
  std::map<std::string, std::string> documents, routes_have;
  for (const Row& row : documented()) {
    for (const std::string& request : row.requests) {
      if (request.find(' ') != std::string::npos) documents.emplace(request, row.right);
    }
  }
  for (const Route& route : routes()) {
    routes_have.emplace(std::string(route.method) + " " + route.path, row_of(route.right).name);
    // About an owner's right there must be a domain, or a key.
    if (row_of(route.right).whose == RightOf::owner) {
      EXPECT_TRUE(route.path.find("{domain}") != std::string::npos || route.path.ends_with("{key}") ||
                  route.path.ends_with("{ticket}"))
          << route.path;
    }
  }
  EXPECT_EQ(documents, routes_have);
}

/// Who may not read a domain's text is not told what quotes it.
TEST(Access, WhatQuotesATextIsForWhoMayReadIt) {
  const Folder folder;
  TestDaemon daemon(folder.path());
  daemon.restart();
  ASSERT_TRUE(daemon.define("a"));
  daemon->settle(daemon->find("a")->uuid, "/secret/\x1b]0;\n" + std::string(5000, 'x'));
  const std::string kept = daemon->find("a")->start_failed.why;
  EXPECT_EQ(kept.substr(0, 14), "/secret/?]0;?x");
  EXPECT_LT(kept.size(), 1100u);
  const HttpServer::Handlers handlers = api_handlers(*daemon, {});
  const auto ask = [&](const char* path, unsigned user) {
    std::multimap<std::string, std::string> query;
    if (std::string(path) == "/v1/domains") query.emplace("all", "true");
    return handlers.handle({.method = "GET", .path = path, .body = "", .peer = peer(user), .query = query}).body;
  };
  for (const char* path : {"/v1/domains", "/v1/domains/a", "/v1/host"}) {
    EXPECT_NE(ask(path, ::geteuid()).find("/secret/"), std::string::npos) << path;
    const std::string others = ask(path, ::geteuid() + 54321);
    EXPECT_EQ(others.find("/secret/"), std::string::npos) << path;
    EXPECT_NE(others.find("who may control it is told why"), std::string::npos) << path;
  }
}

TEST(Access, SoIsWhyThereIsNoPolicy) {
  const Folder folder;
  TestDaemon daemon(folder.path());
  daemon.restart();
  ASSERT_TRUE(daemon.add("a"));
  daemon.stop();
  daemon.change_record([](DomainRecord& record) {
    record.config += "lewr = 1\n";
    record.package.launch_control = LaunchControl::locked;
  });
  daemon.restart();
  const HttpServer::Handlers handlers = api_handlers(*daemon, {});
  const auto ask = [&](unsigned user) {
    return handlers.handle(
        {.method = "GET", .path = "/v1/domains/a/policy", .body = "", .peer = peer(user), .query = {}});
  };
  EXPECT_NE(ask(::geteuid()).body.find("'lewr'"), std::string::npos) << ask(::geteuid()).body;
  EXPECT_EQ(ask(::geteuid() + 54321).status, 500);
  EXPECT_EQ(ask(::geteuid() + 54321).body.find("lewr"), std::string::npos);
  EXPECT_NE(ask(::geteuid() + 54321).body.find("who may control it is told why"), std::string::npos);
}

/// Every route, asked by somebody who is neither root nor the daemon's user, for a domain that is the latter's.
TEST(Access, NoRouteActsForWhoMayNot) {
  const Peer somebody = peer(::geteuid() + 54321);
  for (const AccessPolicy& policy : policies) {
    const Folder folder;
    TestDaemon daemon(folder.path());
    daemon.machine.access = policy;
    daemon.restart();
    const HttpServer::Handlers handlers = api_handlers(*daemon, {});
    for (const Route& route : routes()) {
      SCOPED_TRACE(std::string(route.method) + " " + route.path);
      // Whose a ticket is says the ticket; the daemon cases `access` and `tickets` have some.
      if (route.path.ends_with("{ticket}")) continue;
      if (daemon.shown("a").empty()) {
        ASSERT_TRUE(daemon.add("a"));
      }
      const auto ask = [&](const std::string& domain) {
        std::string path = route.path;
        if (const auto at = path.find("{domain}"); at != std::string::npos) path.replace(at, 8, domain);
        if (const auto at = path.find("{key}"); at != std::string::npos) path.replace(at, 5, daemon->find("a")->uuid);
        return handlers
            .handle({.method = std::string(route.method), .path = path, .body = "{}", .peer = somebody, .query = {}})
            .status;
      };
      const RightRow& row = row_of(route.right);
      const bool allowed = row.whose == RightOf::everybody || (row.whose == RightOf::owner && row.left_to != nullptr &&
                                                               policy.*row.left_to == LeftTo::group);
      if (allowed) {
        EXPECT_NE(ask("a"), 403);
      } else {
        const std::string id = std::to_string(daemon->find("a")->id), state = daemon.shown("a");
        EXPECT_EQ(ask("a"), 403);
        EXPECT_EQ(ask(id), 403);
        EXPECT_EQ(daemon.shown("a"), state);
      }
      if (row.whose == RightOf::owner && !route.path.ends_with("{key}") && !route.path.ends_with("{ticket}")) {
        EXPECT_EQ(ask("none"), 404);
      }
    }
  }
}

TEST(Access, WhoIsNotKnownOwnsNothing) {
  for (const AccessPolicy& policy : policies) {
    for (const Right right : {Right::console, Right::control}) {
      EXPECT_FALSE(may(peer(nobody), owner(nobody), right, policy, daemon_user));
      EXPECT_TRUE(may(peer(root), owner(nobody), right, policy, daemon_user));
    }
  }
  EXPECT_FALSE(may(peer(other_user), owner(nobody), Right::control, {}, daemon_user));
}

TEST(Access, GroupsMakeNoOwner) {
  Peer asks = peer(other_user);
  asks.groups = {100};
  EXPECT_FALSE(may(asks, {.user = owner_user, .group = 100, .groups = {100}}, Right::control, {}, daemon_user));
}

TEST(Access, ARefusalNamesUserDomainAndOwner) {
  EXPECT_EQ(refusal(peer(other_user), "web", owner(owner_user), Right::control),
            "user 1001 may not control 'web', which is user 1000's");
  EXPECT_EQ(refusal(peer(other_user), "web", owner(root), Right::console),
            "user 1001 may not use the console of 'web', which is user 0's");
  EXPECT_EQ(refusal(peer(other_user), "web", owner(nobody), Right::control),
            "user 1001 may not control 'web', whose owner is not known");
  EXPECT_EQ(refusal(peer(other_user), "", owner(nobody), Right::host),
            "user 1001 may not say that the host goes down or up: that is root's, and the daemon's own user's");
}

}  // namespace
}  // namespace cloister::tests
