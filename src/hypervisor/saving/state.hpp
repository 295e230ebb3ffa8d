// What a saved domain is, beside its RAM and its devices' states: plain values, whose fields are their format
// (stream/codec.hpp). A change here is another version of the record (stream/record.hpp), and another golden file.
#pragma once

#include <array>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "hypervisor/specification.hpp"
#include "vmx/exit.hpp"
#include "vmx/regs.hpp"

namespace cloister::hypervisor {

/// What a domain was made of, as far as its guest knows it. Who restores it must have the same.
struct DomainShape {
  struct Range {
    u64 base = 0, bytes = 0;
    bool operator==(const Range&) const = default;
  };
  struct Cpuid {
    u32 leaf = 0, subleaf = 0, eax = 0, ebx = 0, ecx = 0, edx = 0;
    bool operator==(const Cpuid&) const = default;
  };
  u32 vcpus = 0;
  bool deterministic = false;
  std::vector<Range> ram{}, epc{};
  std::vector<Cpuid> cpuid{};
  bool sgx = false, launch_control = false, hash_writable = false, provision = false;
  bool operator==(const DomainShape&) const = default;
};
DomainShape shape_of(const DomainSpec& spec);
/// In what the domain that is there differs from the saved one, all of it; empty: in nothing.
std::string difference(const DomainShape& saved, const DomainShape& here);

struct TimeState {
  u64 tsc = 0;  ///< the time of all processors, without their IA32_TSC_ADJUST
  bool operator==(const TimeState&) const = default;
};

struct MachineState {
  bool asleep = false;  ///< in S3
  bool crash_kernel_runs = false;
  bool operator==(const MachineState&) const = default;
};

/// EPC without enclaves: every page that the guest has is free.
struct EpcState {
  u64 target = 0;            ///< pages that the guest is asked to have
  std::vector<u64> given{};  ///< addresses of those that it has given back
  bool operator==(const EpcState&) const = default;
};

struct ProcessorState {
  vmx::GeneralRegs general{};
  vmx::SystemRegs system{};
  vmx::FxsaveImage fpu{};
  vmx::Interruptibility interruptibility{};
  u64 drawn = 0;                         ///< of its seeded random numbers
  std::map<u32, u64> silicon_msrs{};     ///< that the processor keeps (MsrFile::in_silicon)
  std::map<u32, u64> hypervisor_msrs{};  ///< that were written, of those that the hypervisor keeps
  std::optional<vmx::Event> event{};     ///< goes into the guest at the next entry
  bool halted = false, nmi_waiting = false;
  bool init_wanted = false, waits_for_startup = false;
  std::optional<u8> startup_page{};
};

/// Of a network interface whose driver has a choice.
struct PairsState {
  u32 pairs = 1;
  bool operator==(const PairsState&) const = default;
};

/// Of a domain whose CPUID has the XSAVE component.
struct AvxState {
  vmx::UpperHalves upper{};
  bool operator==(const AvxState&) const = default;
};

}  // namespace cloister::hypervisor
