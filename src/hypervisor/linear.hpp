// The guest's linear memory as the processor would see it now: through the guest's page tables, onto RAM or a device.
#pragma once

#include <array>
#include <optional>
#include <span>
#include <tl/expected.hpp>

#include "hypervisor/gva.hpp"
#include "hypervisor/mmio_bus.hpp"

namespace cloister::hypervisor {

/// A fault that an emulated access raises in the guest.
struct Fault {
  u8 vector = 0;
  std::optional<u32> error;
  u64 address = 0;  ///< CR2, of a page fault
  bool operator==(const Fault&) const = default;
};

/// What an emulated instruction's memory operand is read from and written to. Sizes are 1, 2, 4 or 8 bytes.
class OperandMemory {
 public:
  virtual ~OperandMemory() = default;
  virtual tl::expected<u64, Fault> load(arch::Gva from, unsigned bytes) = 0;
  virtual tl::expected<void, Fault> store(arch::Gva to, u64 value, unsigned bytes) = 0;
  /// Whether a store would fault; for an operand that must be writable before a device is read.
  virtual tl::expected<void, Fault> probe_store(arch::Gva to, unsigned bytes) = 0;
};

class LinearMemory final : public OperandMemory {
 public:
  LinearMemory(vmx::GuestMemory& memory, MmioBus& bus, const PagingState& paging, bool user)
      : memory_(memory), bus_(bus), tables_(memory), paging_(paging), user_(user) {}

  tl::expected<u64, Fault> load(arch::Gva from, unsigned bytes) override;
  tl::expected<void, Fault> store(arch::Gva to, u64 value, unsigned bytes) override;
  tl::expected<void, Fault> probe_store(arch::Gva to, unsigned bytes) override;

  /// Instruction bytes from `from` on: as many as can be fetched, up to the span's size.
  std::size_t fetch(arch::Gva from, std::span<u8> to);

  /// The guest-physical address of one byte; sets accessed and dirty bits.
  tl::expected<arch::Gpa, Fault> translate(arch::Gva linear, bool write) { return translate(linear, write, false); }
  /// What it would be; sets none.
  tl::expected<arch::Gpa, Fault> would_translate(arch::Gva linear, bool write) {
    return translate(linear, write, true);
  }

 private:
  /// What lies in one page, of at most two.
  struct Part {
    arch::Gpa physical{};
    unsigned offset = 0, bytes = 0;  ///< in the access
  };
  struct Parts {
    std::array<Part, 2> part;
    unsigned count = 0;
    std::span<const Part> all() const { return std::span(part).first(count); }
  };
  tl::expected<Parts, Fault> parts(arch::Gva linear, unsigned bytes, bool write);
  tl::expected<arch::Gpa, Fault> translate(arch::Gva linear, bool write, bool quiet);

  vmx::GuestMemory& memory_;
  MmioBus& bus_;
  GuestTables tables_;
  PagingState paging_;
  bool user_;
};

/// A debugger's look at an address: no permissions, no accessed bits.
std::optional<arch::Gpa> debug_translate(vmx::GuestMemory& memory, const PagingState& paging, arch::Gva linear);
/// Its access, to RAM alone: the number of bytes copied before the first that is not there.
std::size_t debug_read(vmx::GuestMemory& memory, const PagingState& paging, arch::Gva from, std::span<u8> to);
std::size_t debug_write(vmx::GuestMemory& memory, const PagingState& paging, arch::Gva to, std::span<const u8> from);

}  // namespace cloister::hypervisor
