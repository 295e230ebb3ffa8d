// A process may die between any two stores of a leaf. What it leaves in the EPCM is an EPC of which the next process
// can remove every page: each valid page has all its fields, and an owner that is there (SDM vol. 3D, 35.20; EREMOVE).
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <ucontext.h>

#include <cstdlib>

#include "sgx_machine.hpp"
#include "silicon/sgx/epc/diagnostics.hpp"
#include "silicon/sgx/epc/page_info.hpp"
#include "silicon/sgx/epc/tracking.hpp"
#include "silicon/silicon.hpp"

namespace cloister::silicon {
namespace {

using arch::PageType;

constexpr u64 pages = SgxMachine::epc_pages;

/// Leaves on a machine, some of which succeed. SECSs are pages 1 to 3, version arrays 4 and 5, children the others.
class Leaves {
 public:
  explicit Leaves(const EpcMemory::Pointer& memory) : m(config_on(memory)) {}

  static Package::Config config_on(const EpcMemory::Pointer& memory) {
    auto config = SgxMachine::plain_config();
    config.memory = memory;
    return config;
  }

  static constexpr u32 first_secs = 1, secs_count = 3, first_va = 4, va_count = 2, first_child = 6;
  static constexpr u32 children = pages - first_child;
  /// Where EWB puts pages, and what comes with them.
  static constexpr u64 image = SgxMachine::ram + 0x4000, pcmd = SgxMachine::ram + 0x1f000;

  i64 create(u32 secs) { return m.ecreate_page(secs, SgxMachine::plain_secs()); }
  i64 add(u32 child, u32 secs) {
    const auto type = child % 7 == 0 ? PageType::tcs : PageType::reg;
    return m.eadd_page(child, secs, linear(child), m.flags_of(type, 3), EpcBytes{});
  }
  /// As EINIT would leave it; signing is another test's.
  void initialise(u32 secs) {
    if (m.epcm(secs).valid && m.epcm(secs).type == PageType::secs) {
      m.secs(secs).architectural.attributes.flags |= arch::attributes::init;
    }
  }
  i64 augment(u32 child, u32 secs) {
    m.put(SgxMachine::pageinfo, arch::Pageinfo{linear(child), 0, 0, m.page(secs)});
    return m.run(eaug, SgxMachine::pageinfo, m.page(child));
  }
  i64 version_array(u32 va) { return m.run(epa, static_cast<u64>(PageType::va), m.page(va)); }
  i64 trim(u32 child) {
    m.put(SgxMachine::secinfo, arch::Secinfo{m.flags_of(PageType::trim, 0), {}});
    return m.run(emodt, SgxMachine::secinfo, m.page(child));
  }
  i64 block(u32 child) { return m.run(eblock, 0, m.page(child)); }
  i64 track(u32 secs) { return m.run(etrack, 0, m.page(secs)); }
  i64 evict(u32 page, u32 va) {
    m.put(SgxMachine::pageinfo, arch::Pageinfo{0, image_of(page), pcmd_of(page), 0});
    return m.run(ewb, SgxMachine::pageinfo, m.page(page), m.page(va) + 8 * page);
  }
  i64 load(u32 page, u32 secs, u32 va) {
    const bool is_secs = secs == 0;
    m.put(SgxMachine::pageinfo,
          arch::Pageinfo{is_secs ? 0 : linear(page), image_of(page), pcmd_of(page), is_secs ? 0 : m.page(secs)});
    return m.run(eldu, SgxMachine::pageinfo, m.page(page), m.page(va) + 8 * page);
  }
  i64 remove(u32 page) { return m.run(eremove, 0, m.page(page)); }
  /// A thread that goes in, perhaps never to come out.
  void enter(u32 secs) {
    if (m.epcm(secs).valid && m.epcm(secs).type == PageType::secs) enter_enclave(m.epcm(secs));
  }

  /// One leaf of many, on pages of which some fit.
  void random_leaf(std::mt19937& random) {
    const u32 secs = first_secs + random() % secs_count, va = first_va + random() % va_count;
    const u32 child = first_child + random() % children;
    switch (random() % 14) {
      case 0: create(secs); break;
      case 1:
      case 2: add(child, secs); break;
      case 3: initialise(secs); break;
      case 4:
      case 5: augment(child, secs); break;
      case 6: version_array(va); break;
      case 7: trim(child); break;
      case 8: block(child); break;
      case 9: track(secs); break;
      case 10: evict(random() % 8 == 0 ? secs : child, va); break;
      case 11: load(random() % 8 == 0 ? secs : child, random() % 4 == 0 ? 0 : secs, va); break;
      case 12: remove(random() % pages); break;
      case 13:
        if (random() % 64 == 0) enter(secs);
        break;
    }
  }

  SgxMachine m;

 private:
  static u64 linear(u32 child) { return SgxMachine::base + child * arch::page_size; }
  static u64 image_of(u32 page) { return image + page % 16 * arch::page_size; }
  static u64 pcmd_of(u32 page) { return pcmd + page % 16 * sizeof(arch::Pcmd); }
};

/// No page is valid without an owner where it needs one.
void expect_owners(int epcm_descriptor) {
  const auto observer = diagnostics::Observer::open(epcm_descriptor);
  ASSERT_TRUE(observer);
  for (const diagnostics::Page& page : observer->valid_pages()) {
    if (has_owner(page.type)) {
      EXPECT_NE(page.eid, 0u) << "page " << page.index << " is nobody's";
    }
  }
}

/// What a broker does; two passes, for SECSs that have children in the first.
void expect_clean_in_two_passes(const EpcMemory::Pointer& memory) {
  Package package(Leaves::config_on(memory));
  std::vector<u32> again;
  const auto removed = [&](u32 index) {
    const EnclsResult result = package.eremove(SgxMachine::first_frame + index);
    return !result.fault && result.rax == 0;
  };
  for (u32 i = 0; i < pages; ++i) {
    if (!removed(i)) again.push_back(i);
  }
  for (const u32 i : again) EXPECT_TRUE(removed(i)) << "page " << i;
  EXPECT_EQ(diagnostics::Observer::of(package.impl())->count().free, pages);
}

TEST(KilledProcessor, LeavesAnEpcThatCanBeRemoved) {
  const int rounds = std::getenv("CLOISTER_FULL") != nullptr ? 5000 : 300;
  std::mt19937 random(4);
  const auto memory = EpcMemory::create(pages);
  ASSERT_TRUE(memory);
  u64 pages_left = 0;
  for (int round = 0; round < rounds && !HasFailure(); ++round) {
    SCOPED_TRACE(round);
    const u32 seed = random();
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      auto adopted = EpcMemory::adopt((*memory)->pages_descriptor(), (*memory)->epcm_descriptor(), pages);
      if (!adopted) ::_exit(1);
      Leaves leaves(*adopted);
      std::mt19937 choice(seed);
      for (;;) leaves.random_leaf(choice);
    }
    // At work, which its first page shows; then it has some time left.
    const auto observer = diagnostics::Observer::open((*memory)->epcm_descriptor());
    ASSERT_TRUE(observer);
    while (observer->count().free == pages) ::usleep(50);
    ::usleep(random() % 2000);
    ::kill(child, SIGKILL);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status)) << "the child ended by itself";
    pages_left += pages - observer->count().free;
    expect_owners((*memory)->epcm_descriptor());
    expect_clean_in_two_passes(*memory);
  }
  EXPECT_GT(pages_left, static_cast<u64>(rounds)) << "more than one page was left behind by each, on average";
}

// The same without luck: the EPCM is write-protected while a leaf runs, and each state between two of its stores, which
// a kill there would leave, is looked at.

/// The EPCM's bytes before and after every instruction that stores into it.
class EveryStore {
 public:
  static constexpr std::size_t bytes = pages * sizeof(EpcmEntry);
  static_assert(bytes == arch::page_size);
  using State = std::array<u8, bytes>;

  template <class F>
  static std::vector<State> during(const EpcMemory::Pointer& memory, F&& leaf) {
    watched = reinterpret_cast<u8*>(memory->impl().entries());
    states.resize(most);
    count = 0;
    struct sigaction refused {};
    struct sigaction stepped {};
    struct sigaction old_refused {};
    struct sigaction old_stepped {};
    refused.sa_sigaction = let_one_through;
    stepped.sa_sigaction = protect_again;
    refused.sa_flags = stepped.sa_flags = SA_SIGINFO;
    ::sigaction(SIGSEGV, &refused, &old_refused);
    ::sigaction(SIGTRAP, &stepped, &old_stepped);
    note();
    protect(PROT_READ);
    leaf();
    protect(PROT_READ | PROT_WRITE);
    ::sigaction(SIGSEGV, &old_refused, nullptr);
    ::sigaction(SIGTRAP, &old_stepped, nullptr);
    states.resize(count);
    return std::move(states);
  }

 private:
  static constexpr std::size_t most = 256;
  static constexpr greg_t trap_flag = 0x100;

  static void protect(int rights) { ::mprotect(watched, bytes, rights); }
  static void note() {
    if (count < most) std::memcpy(states[count++].data(), watched, bytes);
  }
  static void let_one_through(int, siginfo_t* info, void* context) {
    if (static_cast<u64>(static_cast<u8*>(info->si_addr) - watched) >= bytes) ::abort();
    protect(PROT_READ | PROT_WRITE);
    static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_EFL] |= trap_flag;
  }
  static void protect_again(int, siginfo_t*, void* context) {
    static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_EFL] &= ~trap_flag;
    note();
    protect(PROT_READ);
  }

  static inline u8* watched = nullptr;
  static inline std::vector<State> states;
  static inline std::size_t count = 0;
};

#if defined(__SANITIZE_THREAD__)
constexpr bool signals_are_exact = false;
#else
constexpr bool signals_are_exact = true;
#endif

struct Step {
  const char* name;
  void (*before)(Leaves&);
  i64 (*leaf)(Leaves&);
};

void enclave(Leaves& l) {
  l.create(2);
  l.add(10, 2);
  l.version_array(4);
}
void blocked(Leaves& l) {
  enclave(l);
  l.initialise(2);
  l.block(10);
  l.track(2);
}
void evicted(Leaves& l) {
  blocked(l);
  l.evict(10, 4);
}
void secs_evicted(Leaves& l) {
  evicted(l);
  l.evict(2, 4);
}

constexpr Step steps[] = {
    {"ECREATE", [](Leaves&) {}, [](Leaves& l) { return l.create(2); }},
    {"EADD", [](Leaves& l) { l.create(2); }, [](Leaves& l) { return l.add(10, 2); }},
    {"EADD of a TCS", [](Leaves& l) { l.create(2); }, [](Leaves& l) { return l.add(14, 2); }},
    {"EAUG", [](Leaves& l) { enclave(l), l.initialise(2); }, [](Leaves& l) { return l.augment(11, 2); }},
    {"EPA", [](Leaves&) {}, [](Leaves& l) { return l.version_array(4); }},
    {"EMODT", [](Leaves& l) { enclave(l), l.initialise(2); }, [](Leaves& l) { return l.trim(10); }},
    {"EWB", blocked, [](Leaves& l) { return l.evict(10, 4); }},
    {"ELDU", evicted, [](Leaves& l) { return l.load(10, 2, 4); }},
    {"EWB of a SECS", evicted, [](Leaves& l) { return l.evict(2, 4); }},
    {"ELDU of a SECS", secs_evicted, [](Leaves& l) { return l.load(2, 0, 4); }},
    {"EREMOVE", enclave, [](Leaves& l) { return l.remove(10); }},
    {"EREMOVE of a SECS", [](Leaves& l) { l.create(2); }, [](Leaves& l) { return l.remove(2); }},
};

TEST(KilledProcessor, LeavesOwnersBetweenAnyTwoStoresOfALeaf) {
  if (!signals_are_exact) GTEST_SKIP() << "the thread sanitizer delays signals";
  for (const Step& step : steps) {
    SCOPED_TRACE(step.name);
    const auto memory = EpcMemory::create(pages), copy = EpcMemory::create(pages);
    ASSERT_TRUE(memory);
    ASSERT_TRUE(copy);
    Leaves leaves(*memory);
    step.before(leaves);
    i64 result = -1;
    const auto states = EveryStore::during(*memory, [&] { result = step.leaf(leaves); });
    EXPECT_EQ(result, 0);
    EXPECT_GE(states.size(), 4u) << "the leaf takes locks and changes the entry";
    EXPECT_LT(states.size(), 256u);
    for (const auto& state : states) {
      std::memcpy(reinterpret_cast<u8*>((*copy)->impl().entries()), state.data(), state.size());
      expect_owners((*copy)->epcm_descriptor());
      expect_clean_in_two_passes(*copy);
    }
  }
}

}  // namespace
}  // namespace cloister::silicon
