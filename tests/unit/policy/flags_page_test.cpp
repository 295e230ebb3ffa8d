// docs/flags.md is what the tables say; CLOISTER_WRITE_REPORT=1 writes it anew.
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>

#include "policy/feature_rows.hpp"
#include "policy/flags.hpp"
#include "policy/hexadecimal.hpp"

namespace cloister::policy {
namespace {

using Cells = std::vector<std::string>;

std::string line(const Cells& cells) {
  std::string text = "|";
  for (const std::string& cell : cells) text += " " + cell + " |";
  return text + "\n";
}

std::string head(const Cells& titles) { return line(titles) + line(Cells(titles.size(), "---")); }

std::string code(std::string_view word) { return word.empty() ? "" : "`" + std::string(word) + "`"; }

std::string list(const std::vector<std::string_view>& words) {
  std::string text;
  for (const std::string_view word : words) text += (text.empty() ? "" : ", ") + std::string(word);
  return text;
}

std::string page() {
  std::string text = R"(# CPU flags

What Cloister knows of CPU flags: where each bit is, and what tools call it. `cloister cpu explain` shows one of them
([cpu-flags.md](cpu-flags.md)). This page is made of the tables in `src/policy/feature_rows.cpp`,
`src/policy/sgx_flags.cpp`, `src/policy/dependence.cpp` and `src/policy/descriptions.cpp`; a new flag is a row there:
`CLOISTER_WRITE_REPORT=1 build/release/bin/unit_policy --gtest_filter='FlagsPage.*'` writes the page anew.

## SGX

Kinds: `processor` flags are leaf 7's; `instructions` are leaf functions of ENCLS, ENCLU and ENCLV; `exceptions` is what
SECS.MISCSELECT may ask for; an `attribute` is a bit that ECREATE takes in SECS.ATTRIBUTES, and no instruction.

)";
  text += head({"flag", "place", "mask", "kind", "requires", "silicon"});
  for (const SgxFlag& flag : sgx_flags()) {
    const Feature& feature = *find_feature(flag.name);
    text += line({code(flag.name), place_of(feature), hexadecimal(u32{1} << feature.bit),
                  std::string(name_of(flag.kind)), list(requirements(feature)), list(processors_with(feature))});
  }
  text += "\n## What SGX's flags mean\n\n" + head({"flag", "meaning", "a guest without it"});
  for (const SgxFlag& flag : sgx_flags()) {
    text += line({code(flag.name), std::string(flag.meaning), std::string(flag.without)});
  }
  text += "\n## What tools call SGX's flags\n\nAn empty cell: the tool has no word for it.\n\n";
  text += head({"flag", "libvirt", "QEMU", "Xen", "/proc/cpuinfo", "cpuid"});
  for (const SgxFlag& flag : sgx_flags()) {
    text += line(
        {code(flag.name), code(flag.libvirt), code(flag.qemu), code(flag.xen), code(flag.cpuinfo), code(flag.cpuid)});
  }
  text += "\n## All flags\n\n" + head({"flag", "place", "libvirt", "QEMU", "Xen", "/proc/cpuinfo", "also", "requires"});
  for (const FeatureRow& row : feature_rows()) {
    const Feature& feature = *find_feature(row.name);
    text += line({code(row.name), place_of(feature), code(row.libvirt), code(row.qemu), code(row.xen),
                  code(row.cpuinfo), code(row.also), list(requirements(feature))});
  }
  return text;
}

TEST(FlagsPage, IsCurrent) {
  const std::string path = CLOISTER_SOURCE_DIR "/docs/flags.md", text = page();
  if (std::getenv("CLOISTER_WRITE_REPORT") != nullptr) std::ofstream(path) << text;
  std::ifstream file(path);
  const std::string found{std::istreambuf_iterator<char>(file), {}};
  EXPECT_TRUE(found == text) << "docs/flags.md is not what the tables say; its first paragraph says how to write it";
}

}  // namespace
}  // namespace cloister::policy
