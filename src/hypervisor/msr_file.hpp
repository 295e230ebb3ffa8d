// The MSRs that exit: what each one is, as a table, and the values that the hypervisor keeps (SDM vol. 4, table 2-2).
// What the silicon keeps is reached through MsrHost. An MSR that the table does not know, or whose CPUID bit the domain
// does not have, raises #GP(0).
#pragma once

#include <array>
#include <map>
#include <optional>
#include <vector>

#include "platform/apic.hpp"
#include "policy/policy.hpp"

namespace cloister::hypervisor {

/// What MSR handlers reach beyond their own values.
class MsrHost {
 public:
  virtual ~MsrHost() = default;
  virtual std::optional<u64> read_silicon(u32 index) = 0;
  virtual bool write_silicon(u32 index, u64 value) = 0;
  virtual platform::LocalApic& apic() = 0;
  virtual u64 now() = 0;
  /// After a write to the local APIC; `sent` may be empty.
  virtual void apic_written(const std::optional<platform::InterruptMessage>& sent) = 0;
};

class MsrFile {
 public:
  MsrFile(const policy::CpuidTable& cpuid, const policy::MsrPolicy& policy, unsigned physical_bits);

  /// RDMSR's value; nullopt: #GP(0).
  std::optional<u64> read(u32 index, MsrHost& host) const;
  /// False: #GP(0).
  bool write(u32 index, u64 value, MsrHost& host);

  /// Values as after power-up.
  void reset() { stored_.clear(); }

  /// What the guest wrote of what is kept here. Set: an index that is none of these, which is refused.
  const std::map<u32, u64>& written() const { return stored_; }
  std::optional<u32> set_written(const std::map<u32, u64>& values);

  /// MSRs that the silicon keeps, but for those that its system registers have too (vmx::SystemRegs).
  static std::vector<u32> in_silicon();
  /// MSRs that need no exit: plain registers of the processor.
  static std::vector<u32> passthrough();

 private:
  struct Row;
  struct Table;
  const Row* find(u32 index) const;
  bool valid_mtrr(u32 index, u64 value) const;

  const policy::CpuidTable& cpuid_;
  policy::MsrPolicy policy_;
  unsigned physical_bits_;
  std::map<u32, u64> stored_;
};

}  // namespace cloister::hypervisor
