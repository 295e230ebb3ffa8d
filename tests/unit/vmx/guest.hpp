// A guest that is set up through the door alone: tables in its memory, a processor in 64-bit mode at CPL 0 (SDM vol.
// 3A, 4.5, 6.14), and code as bytes.
#pragma once

#include <gtest/gtest.h>

#include <initializer_list>

#include "implementations.hpp"

namespace cloister::vmx {

// Guest-physical addresses. Paging maps the first 2 MiB onto themselves, for users too.
inline constexpr u64 ram_bytes = 0x40000;
inline constexpr u64 code = 0x1000, data = 0x2000;                   ///< a page each
inline constexpr u64 idt = 0x4000, gdt = 0x5000, tss = 0x5800;       ///< 256 gates; three segments
inline constexpr u64 stack = 0x7000;                                 ///< its top
inline constexpr u64 tables = 0x8000;                                ///< PML4, PDPT, PD, PT, a page each
inline constexpr u64 handlers = 0x10000, handler_bytes = 16;         ///< by vector; each is a HLT
inline constexpr u64 mapped_bytes = 0x20'0000, nowhere = 0x1f'0000;  ///< linear addresses behind RAM have no memory
inline constexpr u64 epc_base = 0x10'0000;                           ///< where tests map EPC
inline constexpr u16 code_selector = 0x08, data_selector = 0x10, tss_selector = 0x28;

constexpr u64 handler_of(u8 vector) { return handlers + vector * handler_bytes; }

/// Instructions enough for every program here that ends.
inline constexpr u64 plenty = 1'000'000;

/// One that ECREATE takes (SDM vol. 3D, 38.3).
inline arch::Secs plain_secs() {
  arch::Secs s{};
  s.size = 0x4'0000;
  s.base = 0x10'0000;
  s.ssa_frame_size = 1;
  s.attributes = {arch::attributes::mode64bit | arch::attributes::debug, 3};
  return s;
}

/// Where IRETQ would return to (SDM vol. 3A, figure 6-9).
struct Frame {
  u64 rip, cs, rflags, rsp, ss;
};

class Guest {
 public:
  /// RAM with tables. The package outlives the guest.
  explicit Guest(Package& package);

  GuestMemory& memory() { return *memory_; }
  /// A processor that is about to execute what lies at `code`.
  std::unique_ptr<Vcpu> processor(Vcpu::Config config = {});

  void put_bytes(u64 at, std::span<const u8> bytes);
  template <class T>
  void put(u64 at, const T& value) {
    EXPECT_TRUE(memory_->write(Gpa{at}, std::as_bytes(std::span(&value, 1)))) << std::hex << at;
  }
  template <class T>
  T get(u64 at) const {
    T value{};
    EXPECT_TRUE(memory_->read(Gpa{at}, std::as_writable_bytes(std::span(&value, 1)))) << std::hex << at;
    return value;
  }
  /// Changes a page-table entry.
  void map(u64 linear, u64 entry) { put(tables + 3 * arch::page_size + linear / arch::page_size * 8, entry); }

 private:
  Package& package_;
  std::unique_ptr<GuestMemory> memory_;
};

/// 64-bit mode on the guest's tables.
SystemRegs long_mode();
/// The same at CPL 3.
SystemRegs user_mode();
/// 32-bit protected mode without paging, and real mode; CS starts at 0.
SystemRegs protected_mode();
SystemRegs real_mode();

/// Each test is run for each implementation.
class Door : public testing::TestWithParam<Implementation> {
 protected:
  const Backend& backend() const { return GetParam().backend(); }
};

/// A guest with one processor.
class OneProcessor : public Door {
 protected:
  explicit OneProcessor(Package::Config config = {})
      : package_(backend().make_package(std::move(config))), guest_(*package_), vcpu_(guest_.processor()) {}

  /// Runs `bytes` at `code`, with these registers but RIP, and RSP if it is 0.
  Exit run(std::initializer_list<u8> bytes, GeneralRegs regs = {}) {
    guest_.put_bytes(code, bytes);
    return run_at(code, regs);
  }
  Exit run_at(u64 rip, GeneralRegs regs = {});
  Exit resume() { return vcpu_->run(plenty); }
  /// As a hypervisor that has done what the instruction asks for.
  void complete(const Exit& exit);
  u64 rip() const { return vcpu_->general().rip; }
  u64 reg(arch::Gpr which) const { return vcpu_->general().gpr[which]; }
  void expect_halt_at(const Exit& exit, u64 where) const;
  /// The handler's HLT has been reached; the frame, and the error code if there is to be one.
  Frame expect_delivered(const Exit& exit, u8 vector, std::optional<u32> error = std::nullopt);
  /// The bitmap intercepts what the manual calls a fault.
  void intercept(std::initializer_list<u8> vectors);

  std::unique_ptr<Package> package_;
  Guest guest_;
  std::unique_ptr<Vcpu> vcpu_;
};

std::string name_of_row(const testing::TestParamInfo<Implementation>& row);

/// Runs a suite for every implementation.
#define CLOISTER_EACH_IMPLEMENTATION(suite)                                                                    \
  INSTANTIATE_TEST_SUITE_P(Door, suite, testing::ValuesIn(implementations().begin(), implementations().end()), \
                           name_of_row)

/// For what not every implementation can do.
#define CLOISTER_NEEDS(package, capability) \
  if (!(package).capabilities().capability) GTEST_SKIP() << "needs the capability " #capability

}  // namespace cloister::vmx
