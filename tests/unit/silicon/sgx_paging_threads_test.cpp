// Paging on several processors at once (SDM vol. 3D, 36.5 and the tables "concurrency restrictions"): a conflict is a
// result, and no interleaving brings a page back twice or loses one.
#include <set>
#include <thread>

#include "sgx_bench.hpp"

namespace cloister::silicon {
namespace {

using arch::SgxError;

class SgxPagingThreads : public SgxBench {
 protected:
  static constexpr u32 owner = 0, va = 1, first_child = 2;

  /// Where a processor keeps its operands.
  struct Place {
    u64 info, pcmd, image;
  };
  static constexpr Place place(u32 n) {
    const u64 start = ram + n * 0x4000;
    return {start, start + 0x100, start + 0x1000};
  }
  /// Repeats the leaf while another processor is in its way.
  Seen insist(Cpu& processor, Leaf leaf, u64 rbx, u64 rcx, u64 rdx = 0) {
    for (;;) {
      const Seen seen = call_on(processor, leaf, rbx, rcx, rdx);
      if (!seen.gp() && !seen.zf(SgxError::epc_page_conflict)) return seen;
      std::this_thread::yield();
    }
  }
  struct Processor {
    Vcpu vcpu;
    Cpu& cpu;
    explicit Processor(SgxPagingThreads& bench)
        : vcpu(bench.package_, bench.memory_, Vcpu::Config{.clock = ClockMode::deterministic}), cpu(vcpu.impl().cpu()) {
      make_ready(cpu);
    }
  };
};

TEST_F(SgxPagingThreads, AnImageComesBackOnce) {
  make_secs(owner);
  make_va(va);
  const Place p = place(0);
  Processor one(*this), two(*this);
  for (int round = 0; round < 300; ++round) {
    make_child(first_child, owner, arch::PageType::reg, 3, static_cast<u8>(round));
    ASSERT_TRUE(call(eblock, 0, at(first_child)).ok());
    ASSERT_TRUE(call(etrack, 0, at(owner)).ok());
    put(p.info, arch::Pageinfo{0, p.image, p.pcmd, 0});
    ASSERT_TRUE(call(ewb, p.info, at(first_child), at(va)).ok());
    put(p.info, arch::Pageinfo{at(first_child), p.image, p.pcmd, at(owner)});
    Seen seen[2];
    std::thread first_thread([&] { seen[0] = call_on(one.cpu, eldu, p.info, at(first_child + 1), at(va)); });
    std::thread second_thread([&] { seen[1] = call_on(two.cpu, eldu, p.info, at(first_child + 2), at(va)); });
    first_thread.join();
    second_thread.join();
    EXPECT_NE(seen[0].ok(), seen[1].ok());
    EXPECT_TRUE(seen[0].ok() ? seen[1].zf(SgxError::mac_compare_fail) : seen[0].zf(SgxError::mac_compare_fail));
    EXPECT_EQ(entry(owner).children, 1u);
    EXPECT_NE(entry(first_child + 1).valid, entry(first_child + 2).valid);
    entry(first_child + 1).valid = entry(first_child + 2).valid = false;
    entry(owner).children = 0;
  }
}

TEST_F(SgxPagingThreads, PagesSurviveManyTrips) {
  constexpr u32 processors = 4, trips = 200;
  make_secs(owner);
  make_va(va);
  for (u32 n = 0; n < processors; ++n) {
    make_child(first_child + n, owner, arch::PageType::reg, 3, static_cast<u8>(n + 1));
  }
  std::array<std::set<u64>, processors> versions;
  const auto travel = [&](u32 n) {
    Processor self(*this);
    const Place p = place(n);
    const u64 page = at(first_child + n), slot = at(va) + 8 * n;
    for (u32 trip = 0; trip < trips; ++trip) {
      ASSERT_TRUE(insist(self.cpu, eblock, 0, page).ok());
      ASSERT_TRUE(insist(self.cpu, etrack, 0, at(owner)).ok());
      put(p.info, arch::Pageinfo{0, p.image, p.pcmd, 0});
      ASSERT_TRUE(insist(self.cpu, ewb, p.info, page, slot).ok());
      {
        const MutexLock guard(package.mutex());
        u64 version;
        std::memcpy(&version, bytes(va) + 8 * n, sizeof version);
        EXPECT_TRUE(versions[n].insert(version).second) << "a version is used once";
      }
      put(p.info, arch::Pageinfo{page, p.image, p.pcmd, at(owner)});
      ASSERT_TRUE(insist(self.cpu, trip % 2 == 0 ? eldu : elduc, p.info, page, slot).ok());
    }
  };
  std::vector<std::thread> threads;
  for (u32 n = 0; n < processors; ++n) threads.emplace_back(travel, n);
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(entry(owner).children, processors);
  std::set<u64> all;
  for (const auto& set : versions) all.insert(set.begin(), set.end());
  EXPECT_EQ(all.size(), u64{processors} * trips);
  for (u32 n = 0; n < processors; ++n) {
    const u8* const page = bytes(first_child + n);
    EXPECT_TRUE(entry(first_child + n).valid);
    EXPECT_EQ(std::count(page, page + arch::page_size, n + 1), static_cast<long>(arch::page_size));
  }
}

}  // namespace
}  // namespace cloister::silicon
