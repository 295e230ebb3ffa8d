// The server's routes and docs/openapi.json are the same, in both directions.
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "daemon/api.hpp"

namespace cloister::toolstack {
namespace {

using Operations = std::set<std::pair<std::string, std::string>>;

TEST(Routes, AreThoseOfTheDocument) {
  std::ifstream file(CLOISTER_SOURCE_DIR "/docs/openapi.json");
  const auto document = nlohmann::json::parse(file);
  Operations documented, served;
  for (const auto& [path, item] : document["paths"].items()) {
    for (const auto& [method, operation] : item.items()) {
      if (method == "parameters") continue;
      std::string upper = method;
      std::ranges::transform(upper, upper.begin(), [](unsigned char c) { return std::toupper(c); });
      documented.emplace(upper, path);
    }
  }
  for (const Route& route : routes()) served.emplace(route.method, route.path);
  EXPECT_EQ(documented, served);
  EXPECT_EQ(served.size(), routes().size()) << "a route is there twice";
}

}  // namespace
}  // namespace cloister::toolstack
