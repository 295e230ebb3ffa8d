// What MPFR keeps for a thread goes with the thread (MPFR manual, "Memory Handling"): a guest's reboots make many.
#include <gmp.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <thread>

#include "silicon/isa/x87/x87_mpfr.hpp"

namespace cloister::silicon {
namespace {

std::atomic<int> blocks{0};

void* allocate(size_t size) {
  ++blocks;
  return std::malloc(size);
}
void* reallocate(void* block, size_t, size_t size) { return std::realloc(block, size); }
void release(void* block, size_t) {
  --blocks;
  std::free(block);
}

/// Every allocation of GMP and MPFR is counted meanwhile.
class Counted {
 public:
  Counted() {
    mp_get_memory_functions(&allocate_, &reallocate_, &release_);
    mp_set_memory_functions(allocate, reallocate, release);
  }
  ~Counted() { mp_set_memory_functions(allocate_, reallocate_, release_); }
  Counted(const Counted&) = delete;
  Counted& operator=(const Counted&) = delete;

 private:
  void* (*allocate_)(size_t) = nullptr;
  void* (*reallocate_)(void*, size_t, size_t) = nullptr;
  void (*release_)(void*, size_t) = nullptr;
};

TEST(MpfrMemory, EndsWithItsThread) {
  const Float80 pi{0xc90f'daa2'2168'c235, 0x4000}, one{u64{1} << 63, 0x3fff};
  const Counted counted;
  int used = 0;
  std::thread([&] {
    x87_mpfr::sine(pi, 0x37f);
    x87_mpfr::y_log2_plus1(one, pi, 0x37f);
    x87_mpfr::arctangent(one, pi, 0x37f);
    used = blocks;
  }).join();
  EXPECT_GT(used, 0) << "nothing is kept: nothing is tested";
  EXPECT_EQ(blocks, 0);
}

}  // namespace
}  // namespace cloister::silicon
