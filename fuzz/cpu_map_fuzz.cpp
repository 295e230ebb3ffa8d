// Fuzzes the reader of libvirt's map of CPUs: any files give a map whose models consist of features that it has, or one
// error in one of the files. The input is files, each after a line with its name: "=== NAME".
#include <algorithm>
#include <map>

#include "check.hpp"
#include "interop/cpu_map_xml.hpp"
#include "policy/map_check.hpp"

namespace {

using Files = std::map<std::string, std::string>;

Files split(std::string_view text) {
  constexpr std::string_view mark = "=== ";
  Files files;
  std::string name = "index.xml";
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size() - 1) + 1;
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(end);
    if (line.starts_with(mark)) {
      name = line.substr(mark.size(), line.find_last_not_of('\n') + 1 - mark.size());
    } else {
      files[name].append(line);
    }
  }
  return files;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace cloister;
  const Files files = split({reinterpret_cast<const char*>(data), size});
  const auto read = [&](const std::string& name) -> tl::expected<std::string, std::string> {
    check(name == "index.xml" || (!name.empty() && name.front() != '/' && !name.starts_with("../")));
    const auto found = files.find(name);
    if (found == files.end()) return tl::unexpected(std::string("no such file"));
    return found->second;
  };
  const auto map = toolstack::read_cpu_map("index.xml", read);
  if (!map) {
    check(!map.error().diagnostic.message.empty());
    return 0;
  }
  check(!map->features.empty());
  for (const policy::MapFeature& feature : map->features) check(feature.cpuid || feature.msr);
  for (const policy::MapModel& model : map->models) {
    for (const std::string& name : model.features) check(map->find_feature(name) != nullptr);
  }
  const policy::MapCheck found = policy::check_map(*map);
  check(found.good <= map->features.size());
  return 0;
}
