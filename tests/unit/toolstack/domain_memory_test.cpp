// What a domain may come to take, what the host has, and what is said when the one is more than the other.
#include "plan/domain_memory.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "unit/toolstack/run_cloister.hpp"

namespace cloister::toolstack {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(DomainMemory, CountsEveryPartRoundedUp) {
  const MemoryNeed small = memory_need(64, 0, 1);
  EXPECT_EQ(small.overhead, overhead::fixed_mib + overhead::vcpu_mib + 1);
  EXPECT_EQ(small.total(), 64 + small.overhead);
  EXPECT_EQ(memory_need(64, 0, 2, 0, Engine::compiler).overhead,
            memory_need(64, 0, 2).overhead + 2 * overhead::code_mib);
  const MemoryNeed large = memory_need(4096, 1000, 16, (5 << 20) + 1);
  EXPECT_EQ(large.overhead, overhead::fixed_mib + 16 * overhead::vcpu_mib + 32 + 32 + 6);
  EXPECT_EQ(large.total(), 4096 + 1000 + large.overhead);
  EXPECT_EQ(most_mib(large, 16), 4096 + 1000 + overhead::fixed_mib + 16 * overhead::most_vcpu_mib + 32 + 32 + 6);
}

TEST(DomainMemory, SmallHostsHaveDomainsOfSeveralProcessors) {
  // MemTotal of a host with 4 GiB.
  const MemoryLimit limit{.host = {.mib = 3900, .origin = "the host's memory"}, .overcommit = 1};
  const u64 wide = memory_need(2048, 256, 16, 17 << 20).total(), plain = memory_need(512, 64, 1, 17 << 20).total();
  EXPECT_TRUE(admit_memory(memory_need(512, 64, 1, 17 << 20), limit, {{"wide", wide}}));
  EXPECT_TRUE(admit_memory(memory_need(512, 64, 1, 17 << 20), limit, std::vector<MemoryHolder>(4, {"d", plain})));
}

class Host : public testing::Test {
 protected:
  Host() {
    for (const char* folder : {"proc/self", "sys/fs/cgroup/a.slice/b.service"})
      std::filesystem::create_directories(folder_.path(folder));
    folder_.write("proc/meminfo", "MemTotal:       2097152 kB\nMemFree:        1 kB\n");
    folder_.write("proc/self/cgroup", "4:memory:/elsewhere\n0::/a.slice/b.service\n");
  }
  tests::Folder folder_;
};

TEST_F(Host, HasItsMemory) {
  EXPECT_EQ(host_memory(folder_.path()).mib, 2048u);
  folder_.write("sys/fs/cgroup/a.slice/memory.max", "max\n");
  EXPECT_EQ(host_memory(folder_.path()).mib, 2048u);
  folder_.write("proc/self/cgroup", "4:memory:/elsewhere\n");
  EXPECT_EQ(host_memory(folder_.path()).origin, "the host's memory");
}

TEST_F(Host, HasNoMoreThanAControlGroupAboveAllows) {
  folder_.write("sys/fs/cgroup/a.slice/memory.max", "536870912\n");
  const HostMemory memory = host_memory(folder_.path());
  EXPECT_EQ(memory.mib, 512u);
  EXPECT_THAT(memory.origin, HasSubstr("/a.slice"));
  folder_.write("sys/fs/cgroup/a.slice/b.service/memory.max", "268435456\n");
  EXPECT_EQ(host_memory(folder_.path()).mib, 256u);
}

TEST(DomainMemory, ThisHostHasSome) { EXPECT_GT(host_memory().mib, 0u); }

TEST(Admission, GoesUpToTheLimitAndNoFurther) {
  const MemoryNeed need{.ram = 60, .epc = 30, .overhead = 10};
  MemoryLimit limit{.host = {.mib = 1000, .origin = "the host's memory"}, .overcommit = 1};
  EXPECT_TRUE(admit_memory(need, limit, {{"a", 500}, {"b", 400}}));
  EXPECT_FALSE(admit_memory(need, limit, {{"a", 501}, {"b", 400}}));
  limit.overcommit = 1.5;
  EXPECT_TRUE(admit_memory(need, limit, {{"a", 1000}, {"b", 400}}));
  EXPECT_FALSE(admit_memory(need, limit, {{"a", 5000}})) << "an earlier daemon had other limits";
}

TEST(Admission, SaysWhatThereIsAndWhoHoldsIt) {
  const MemoryLimit limit{.host = {.mib = 24000, .origin = "the host's memory"}, .overcommit = 1};
  const auto refused = admit_memory(memory_need(1 << 20, 0, 1), limit, {{"small", 300}, {"large", 7000}});
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error(), HasSubstr("1048576 of RAM, 0 of EPC"));
  EXPECT_THAT(refused.error(), HasSubstr("16700 MiB are free of 24000: the host's memory (24000 MiB)"));
  EXPECT_THAT(refused.error(), HasSubstr("large holds 7000 MiB, small holds 300 MiB"));
  const auto many = admit_memory(memory_need(1 << 20, 0, 1), limit, std::vector<MemoryHolder>(11, {"d", 1}));
  EXPECT_THAT(many.error(), HasSubstr("and 3 more domains"));
}

}  // namespace
}  // namespace cloister::toolstack
