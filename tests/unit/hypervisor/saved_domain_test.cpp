// Domains that are saved, and go on in another one as if nothing had been (hypervisor/saving/): what they print is the
// same, to the instruction under the deterministic clock. And what is no saved domain, or another's, is refused.
#include <gtest/gtest.h>

#include <condition_variable>
#include <mutex>
#include <thread>

#include "guests.hpp"
#include "hypervisor/saving/live.hpp"
#include "hypervisor/saving/state.hpp"
#include "sanitized.hpp"
#include "silicon/silicon.hpp"

// A guest that prints a line now and then, of what an instruction of each kind left behind: timer interrupts, the
// counter, random numbers, floating point. It is in HLT, in handlers, and in the middle of its lines most of the time.
asm(R"(
  .pushsection .rodata
  .code32

  .set apic, 0xfee00000
  .set clockwork_idt, 0xb000
  .set ticks, 0x9000

  .global guest_clockwork, guest_clockwork_end
  .balign 16
guest_clockwork:
    lgdtl 0x100000 + clockwork_gdtr - guest_clockwork
    ljmpl $8, $0x100000 + 1f - guest_clockwork
1:  mov $16, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
    mov $0x80000, %esp
    mov %cr4, %eax
    or $0x600, %eax                     # OSFXSR, OSXMMEXCPT
    mov %eax, %cr4
    mov $0x100000 + clockwork_tick - guest_clockwork, %eax
    mov %ax, clockwork_idt + 0x40 * 8
    movw $8, clockwork_idt + 0x40 * 8 + 2
    movw $0x8e00, clockwork_idt + 0x40 * 8 + 4
    shr $16, %eax
    mov %ax, clockwork_idt + 0x40 * 8 + 6
    lidtl 0x100000 + clockwork_idtr - guest_clockwork
    movl $0x1ff, apic + 0xf0
    movl $0x20040, apic + 0x320         # periodic
    movl $0xb, apic + 0x3e0
    movl $9973, apic + 0x380
    fninit
    fld1
    pcmpeqd %xmm3, %xmm3
    xor %ebx, %ebx
    mov $100, %ebp
    sti
clockwork_line:
    mov $300, %ecx
2:  imul $1103515245, %ebx
    add $12345, %ebx
    rdrand %eax
    add %eax, %ebx
    rdtsc
    add %eax, %ebx
    fadd %st(0), %st(0)
    fsin
    fsts ticks + 8
    add ticks + 8, %ebx
    movd %ebx, %xmm4
    paddd %xmm4, %xmm3
    movd %xmm3, %ebx
    dec %ecx
    jnz 2b
    hlt
    add ticks, %ebx
    mov %ebx, %esi
    mov $8, %ecx
3:  mov %esi, %eax
    and $15, %al
    add $'a', %al
    mov $0x3f8, %dx
    out %al, %dx
    shr $4, %esi
    dec %ecx
    jnz 3b
    mov $'\n', %al
    out %al, %dx
    dec %ebp
    jnz clockwork_line
    mov $0x605, %dx
    mov $0x34, %al
    out %al, %dx
4:  hlt
    jmp 4b
clockwork_tick:
    incl ticks
    movl $0, apic + 0xb0
    iret
clockwork_idtr:
    .word 0x40 * 8 + 7
    .long clockwork_idt
clockwork_gdtr:
    .word 23
    .long 0x100000 + clockwork_gdt - guest_clockwork
    .balign 8
clockwork_gdt:
    .quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff
guest_clockwork_end:

  .code64
  .popsection
)");

namespace cloister::hypervisor {
namespace {

CLOISTER_GUEST(clockwork)

using Bytes = std::vector<u8>;
using silicon::ClockMode;

stream::Sink sink_to(Bytes& bytes) {
  return [&bytes](std::span<const u8> more) -> stream::Result<void> {
    bytes.insert(bytes.end(), more.begin(), more.end());
    return {};
  };
}
stream::Source source_of(std::span<const u8> bytes) {
  return [bytes](std::span<u8> to) mutable -> stream::Result<std::size_t> {
    const std::size_t n = std::min(to.size(), bytes.size());
    std::copy_n(bytes.begin(), n, to.begin());
    bytes = bytes.subspan(n);
    return n;
  };
}

constexpr u64 mib = u64{1} << 20;

class SavedDomain : public testing::Test {
 protected:
  static DomainSpec spec(u32 vcpus, ClockMode clock) {
    DomainSpec spec = spec_of(clockwork(), clock);
    spec.vcpus = vcpus;
    return spec;
  }
  /// A run to the domain's end.
  Outcome run(Domain& domain, std::function<bool()> after_turns = {}) {
    RunOptions options;
    options.timeout = std::chrono::seconds(120);
    options.console_out = [this](std::span<const u8> bytes) { console_.append(bytes.begin(), bytes.end()); };
    options.after_turns = std::move(after_turns);
    return domain.run(options);
  }
  std::unique_ptr<Domain> create(DomainSpec spec) {
    auto domain = Domain::create(package_, std::move(spec), {});
    EXPECT_TRUE(domain) << domain.error();
    return domain ? std::move(*domain) : nullptr;
  }
  std::unique_ptr<Domain> restore(const Bytes& bytes, DomainSpec spec) {
    auto domain = Domain::restore(package_, std::move(spec), {}, source_of(bytes));
    EXPECT_TRUE(domain) << domain.error();
    return domain ? std::move(*domain) : nullptr;
  }
  std::string error_of(std::span<const u8> bytes, DomainSpec spec) {
    const auto domain = Domain::restore(package_, std::move(spec), {}, source_of(bytes));
    return domain ? "" : domain.error();
  }
  /// Of a domain that has run for so many rounds of turns.
  Bytes saved_after(u64 rounds, u32 vcpus = 2) {
    Bytes bytes;
    const auto domain = create(spec(vcpus, ClockMode::deterministic));
    u64 round = 0;
    run(*domain, [&] {
      if (++round != rounds) return true;
      const auto saved = domain->save(sink_to(bytes));
      EXPECT_TRUE(saved) << saved.error();
      return false;
    });
    return bytes;
  }

  silicon::Package package_{silicon::Package::Config{}};
  std::string console_;
};

TEST_F(SavedDomain, GoesOnToTheSameBytesWhereverItWasSaved) {
  u64 rounds = 0;
  const auto whole = create(spec(2, ClockMode::deterministic));
  const Outcome unbroken = run(*whole, [&rounds] { return ++rounds != 0; });
  ASSERT_EQ(unbroken.ending, Ending::powered_off) << unbroken.report;
  const std::string expected = std::exchange(console_, "");
  ASSERT_EQ(expected.size(), 900u);
  ASSERT_GT(rounds, 50u);

  for (u64 at = 1; at < rounds; at += 1 + rounds / 17) {
    const Bytes bytes = saved_after(at);
    EXPECT_LT(bytes.size(), 256u << 10);
    const auto rest = restore(bytes, spec(2, ClockMode::deterministic));
    ASSERT_NE(rest, nullptr);
    EXPECT_EQ(run(*rest).ending, Ending::powered_off);
    ASSERT_EQ(console_, expected) << "saved after round " << at << " of " << rounds;
    console_.clear();
  }
}

TEST_F(SavedDomain, GoesOnThroughAHundredOthers) {
  const auto whole = create(spec(2, ClockMode::deterministic));
  ASSERT_EQ(run(*whole).ending, Ending::powered_off);
  const std::string expected = std::exchange(console_, "");

  auto domain = create(spec(2, ClockMode::deterministic));
  Ending ending = Ending::stopped;
  int hops = 0;
  for (; ending == Ending::stopped && hops < 1000; ++hops) {
    Bytes bytes;
    const Outcome outcome = run(*domain, [&] {
      EXPECT_TRUE(domain->save(sink_to(bytes)));
      return false;
    });
    ending = outcome.ending;
    if (ending == Ending::stopped) domain = restore(bytes, spec(2, ClockMode::deterministic));
  }
  EXPECT_GT(hops, 50);
  EXPECT_EQ(ending, Ending::powered_off);
  EXPECT_EQ(console_, expected);
}

TEST_F(SavedDomain, IsAsItWasBesideItsCopy) {
  const auto whole = create(spec(1, ClockMode::deterministic));
  Bytes first, second;
  unsigned turn = 0;
  EXPECT_EQ(run(*whole,
                [&] {
                  if (turn++ % (is_sanitized() ? 13 : 1) != 0) return true;
                  EXPECT_TRUE(whole->save(sink_to(first)));
                  EXPECT_TRUE(whole->save(sink_to(second)));
                  EXPECT_EQ(first, second);
                  first.clear();
                  second.clear();
                  return true;
                })
                .ending,
            Ending::powered_off);
  const std::string saved = std::exchange(console_, "");
  const auto again = create(spec(1, ClockMode::deterministic));
  run(*again);
  EXPECT_EQ(console_, saved) << "to be saved is not to be seen";
}

/// Saved while it is paused, or when its run was ended from outside.
TEST_F(SavedDomain, GoesOnUnderTheHostsClock) {
  if (is_sanitized()) GTEST_SKIP() << "the host's clock has the next tick due before the guest has seen the last one";
  for (const auto& [vcpus, paused] : {std::pair{1u, true}, {3u, true}, {1u, false}, {3u, false}}) {
    Bytes bytes;
    console_.clear();
    {
      const auto first = create(spec(vcpus, ClockMode::host));
      std::mutex lock;
      std::condition_variable printed;
      u64 lines = 0;
      bool ended = false;
      RunOptions options;
      options.timeout = std::chrono::seconds(120);
      options.console_out = [&](std::span<const u8> more) {
        const std::lock_guard held(lock);
        console_.append(more.begin(), more.end());
        ++lines;
        printed.notify_all();
      };
      std::atomic<bool> stop = false;
      options.stop = &stop;
      std::thread runs([&] {
        first->run(options);
        const std::lock_guard held(lock);
        ended = true;
        printed.notify_all();
      });
      {
        std::unique_lock held(lock);
        printed.wait(held, [&] { return lines >= 5 || ended; });
      }
      const auto save = [&] {
        const auto saved = first->save(sink_to(bytes));
        EXPECT_TRUE(saved) << saved.error();
      };
      if (paused) {
        first->pause();
        save();
      }
      stop = true;
      runs.join();
      if (!paused) save();
    }
    const auto rest = restore(bytes, spec(vcpus, ClockMode::host));
    ASSERT_NE(rest, nullptr);
    EXPECT_EQ(run(*rest).ending, Ending::powered_off);
    EXPECT_EQ(console_.size(), 900u) << "no line is lost or printed twice";
  }
}

TEST_F(SavedDomain, CutAtAnyByteIsRefused) {
  const Bytes bytes = saved_after(9);
  // Everywhere in what is small, and here and there in pages.
  const std::size_t step = is_sanitized() ? 13 : 1;
  for (std::size_t size = 0; size < bytes.size(); size += size < 8192 ? step : 509 * step) {
    const std::string error = error_of(std::span(bytes).first(size), spec(2, ClockMode::deterministic));
    ASSERT_TRUE(error.starts_with("byte " + std::to_string(size) + ": the stream ends in ")) << error;
  }
}

/// Its RAM is sent in rounds, between which it runs: what it stored meanwhile is sent again, and nothing of it is lost.
TEST_F(SavedDomain, GoesOnElsewhereThoughItRanWhileItWasSent) {
  const auto whole = create(spec(2, ClockMode::deterministic));
  ASSERT_EQ(run(*whole).ending, Ending::powered_off);
  const std::string expected = std::exchange(console_, "");
  Bytes bytes;
  for (const u64 at : {u64{4}, u64{17}, u64{50}}) {
    bytes.clear();
    {
      const auto domain = create(spec(2, ClockMode::deterministic));
      stream::Writer writer(sink_to(bytes));
      std::unique_ptr<LiveCopy> copy;
      u64 round = 0, first = 0, again = 0;
      run(*domain, [&] {
        if (++round == 2) {
          copy = domain->live_copy(writer);
          EXPECT_TRUE(copy->begin());
        }
        if (round >= 2 && round < at && round % 4 != 1) {
          const u64 pages = copy->look();
          (round == 2 ? first : again) += pages;
          EXPECT_TRUE(copy->send());
        }
        if (round != at) return true;
        const auto done = copy->finish();
        EXPECT_TRUE(done) << done.error();
        return false;
      });
      EXPECT_GT(first, 0u);
      EXPECT_TRUE(again > 0 || at <= 4) << "it stores all the time";
    }
    stream::Reader reader(source_of(bytes));
    const auto rest = Domain::arrive(package_, spec(2, ClockMode::deterministic), {}, reader);
    ASSERT_TRUE(rest) << rest.error();
    EXPECT_EQ(run(**rest).ending, Ending::powered_off);
    ASSERT_EQ(console_, expected) << "sent until round " << at;
    console_.clear();
  }
  const std::size_t step = is_sanitized() ? 13 : 1;
  for (std::size_t size = 0; size < bytes.size();
       size += size < 4096 || size + 8192 > bytes.size() ? step : 4099 * step) {
    stream::Reader cut(source_of(std::span(bytes).first(size)));
    const auto none = Domain::arrive(package_, spec(2, ClockMode::deterministic), {}, cut);
    ASSERT_FALSE(none);
    ASSERT_TRUE(none.error().starts_with("byte " + std::to_string(size) + ": the stream ends in ")) << none.error();
  }
  // One is not the other.
  EXPECT_NE(error_of(bytes, spec(2, ClockMode::deterministic)), "");
}

TEST_F(SavedDomain, IntoAnotherDomainIsRefusedForEveryReason) {
  const Bytes bytes = saved_after(9);
  DomainSpec other = spec(3, ClockMode::host);
  other.map = *platform::make_memory_map(u64{32} * mib, mib, 40);
  other.msr.sgx = true;
  other.cpuid.set(7, 0, {0, 4, 0, 0});
  other.cpuid.set(0x12, 1, {0x36, 0, 3, 0});
  const std::string error = error_of(bytes, std::move(other));
  for (const char* const reason :
       {"vCPUs: found 3, expected 2", "deterministic clock: found false, expected true", "memory: found ",
        "EPC: found 1048576 bytes in 1 ranges, expected 0 bytes in 0 ranges", "SGX: found true, expected false",
        "CPUID: leaf 0x7.0 differs (with sgx)", "CPUID: leaf 0x12.1 differs (with sgx-debug, sgx-mode64, "})
    EXPECT_NE(error.find(reason), std::string::npos) << reason << " in " << error;
}

// What streams have of the area for XCR0 may count a component that the domain was never given.
TEST_F(SavedDomain, GoesOnWhateverItSaysOfAnAreaThatFollowsXcr0) {
  DomainSpec then = spec(1, ClockMode::deterministic), now = spec(1, ClockMode::deterministic);
  then.cpuid.set(0xd, 1, {0xf, 832, 0, 0});
  now.cpuid.set(0xd, 1, {0xf, 576, 0, 0});
  EXPECT_EQ(difference(shape_of(then), shape_of(now)), "");
  now.cpuid.set(0xd, 1, {0x7, 576, 0, 0});
  EXPECT_EQ(difference(shape_of(then), shape_of(now)), "CPUID: leaf 0xd.1 differs (without xsaves)");
}

TEST_F(SavedDomain, ThatHasEndedIsNotSaved) {
  const auto domain = create(spec(1, ClockMode::deterministic));
  run(*domain);
  Bytes bytes;
  EXPECT_EQ(domain->save(sink_to(bytes)).error(), "it has ended");
}

}  // namespace
}  // namespace cloister::hypervisor
