// Memory for code: no mapping is writable and executable, its size and its writers are sealed, and slices go round.
#include "silicon/engine/compiler/code_memory.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <set>
#include <sstream>
#include <string>

#include "silicon/state/op.hpp"

namespace cloister::silicon {
namespace {

struct Mapping {
  u64 from = 0, to = 0;
  std::string permissions;
};
/// proc(5), /proc/pid/maps.
std::vector<Mapping> mappings() {
  std::vector<Mapping> all;
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    Mapping m;
    char dash;
    std::istringstream(line) >> std::hex >> m.from >> dash >> m.to >> m.permissions;
    all.push_back(m);
  }
  return all;
}
std::string permissions_at(const u8* p) {
  for (const Mapping& m : mappings())
    if (m.from <= reinterpret_cast<u64>(p) && reinterpret_cast<u64>(p) < m.to) return m.permissions;
  return "none";
}

class Memory : public testing::Test {
 protected:
  void SetUp() override {
    if (!CodeMemory::get().available()) GTEST_SKIP() << "this host has no executable memory";
  }
};

TEST_F(Memory, IsNeverWritableAndExecutable) {
  const CodeMemory::Slice slice = CodeMemory::get().take();
  ASSERT_TRUE(slice);
  EXPECT_EQ(permissions_at(slice.writable), "rw-s");
  EXPECT_EQ(permissions_at(slice.executable), "r-xs");
  for (const Mapping& m : mappings())
    EXPECT_FALSE(m.permissions.find('w') != std::string::npos && m.permissions.find('x') != std::string::npos)
        << std::hex << m.from << ' ' << m.permissions;
}

TEST(CodeMemory, WhoOnlyAsksHasNone) {
  const auto executable = [] {
    u64 count = 0;
    for (const Mapping& m : mappings()) count += m.permissions == "r-xs";
    return count;
  };
  const u64 before = executable();
  CodeMemory::possible();
  EXPECT_EQ(executable(), before);
}

TEST_F(Memory, RunsWhatIsWritten) {
  const CodeMemory::Slice slice = CodeMemory::get().take();
  constexpr u8 code[] = {0x8d, 0x47, 0x01, 0xc3};  // lea eax, [rdi+1]; ret
  constexpr u64 at = 0x40;                         // a sanitizer looks at what lies before a function
  std::memcpy(slice.writable + at, code, sizeof code);
  synchronize_code();
  EXPECT_EQ(reinterpret_cast<int (*)(int)>(reinterpret_cast<u64>(slice.executable + at))(41), 42);
}

TEST_F(Memory, SlicesAreApartAndComeBack) {
  std::set<const u8*> first, again;
  {
    std::vector<CodeMemory::Slice> all;
    while (CodeMemory::Slice s = CodeMemory::get().take()) {
      first.insert(s.executable);
      all.push_back(std::move(s));
    }
    EXPECT_EQ(first.size(), all.size());
    EXPECT_EQ(first.size(), CodeMemory::slices) << "another test keeps some";
    EXPECT_FALSE(CodeMemory::get().take());
  }
  const CodeMemory::Slice slice = CodeMemory::get().take();
  EXPECT_TRUE(slice);
  EXPECT_TRUE(first.contains(slice.executable));
}

}  // namespace
}  // namespace cloister::silicon
