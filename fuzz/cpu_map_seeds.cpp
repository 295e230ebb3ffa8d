// A first corpus for cpu_map_fuzz: a small map in each layout.
#include <fstream>

#include "unit/toolstack/cpu_maps.hpp"

int main(int count, char** words) {
  using namespace cloister::tests;
  if (count != 2) return 2;
  const std::string folder = words[1];
  const std::pair<const char*, const MapFolder&> maps[] = {
      {"plain", plain_map()}, {"grouped", grouped_map()}, {"single", single_map()}};
  for (const auto& [name, files] : maps) {
    std::ofstream file(folder + "/" + name, std::ios::binary);
    for (const auto& [part, text] : files) file << "=== " << part << "\n" << text;
  }
  return 0;
}
