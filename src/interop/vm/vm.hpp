// A virtual machine in no tool's words: what a domain's configuration, libvirt's XML and QEMU's argv have in common as
// far as its CPU and its SGX go. Readers make one, renderers take one.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <tl/expected.hpp>
#include <vector>

#include "policy/policy.hpp"
#include "text/diagnostic.hpp"

namespace cloister::toolstack::vm {

/// libvirt's policies for a feature; QEMU knows on and off, which are `require` and `disable`.
enum class FeaturePolicy : u8 { force, require, optional, disable, forbid };
inline bool is_on(FeaturePolicy policy) { return policy <= FeaturePolicy::optional; }

struct CpuFeature {
  std::string name;  ///< our first name for its bit if the table has it, else as the source wrote it
  FeaturePolicy policy = FeaturePolicy::require;
  Position at;  ///< where the source says so
  bool operator==(const CpuFeature& other) const { return name == other.name && policy == other.policy; }
};

enum class CpuMode : u8 {
  unspecified,       ///< the tool's own default
  custom,            ///< a named model
  host_model,        ///< libvirt: the model nearest to the host's, and what it has beyond
  host_passthrough,  ///< the host's processor: QEMU's "host"
  maximum,           ///< all that can be had: QEMU's "max"
};

struct Cpu {
  CpuMode mode = CpuMode::unspecified;
  std::string model;                 ///< of `custom`: "Skylake-Client-IBRS"
  std::vector<CpuFeature> features;  ///< in the order of the source, each once
  /// What libvirt holds against a host, and no guest sees: who made it, and that it has nothing beyond.
  std::string vendor = {};
  bool strict = false;
  /// A configuration has it by the model's name, and not by a description that is like it; the processor is the same.
  bool by_name = false;
  bool operator==(const Cpu& o) const {
    return mode == o.mode && model == o.model && features == o.features && vendor == o.vendor && strict == o.strict;
  }
};

/// A virtual EPC section.
struct Epc {
  u64 kib = 0;
  std::vector<u32> host_nodes;    ///< NUMA nodes that its pages may be of, ascending; empty: any
  std::optional<u32> guest_node;  ///< the node that it is in for the guest
  bool prealloc = true;           ///< QEMU: all pages at the start, so that a shortage shows there
  Position at;
  bool operator==(const Epc& o) const {
    return kib == o.kib && host_nodes == o.host_nodes && guest_node == o.guest_node && prealloc == o.prealloc;
  }
};

/// A NUMA node of the guest.
struct GuestNode {
  u64 kib = 0;                 ///< RAM
  std::vector<u32> cpus = {};  ///< ascending
  bool operator==(const GuestNode&) const = default;
};

struct LaunchControl {
  std::optional<std::array<u64, 4>> hash;  ///< IA32_SGXLEPUBKEYHASH0 to 3; absent: Intel's
  std::optional<bool> writable;            ///< by the guest; absent: nobody said
  bool operator==(const LaunchControl&) const = default;
};

/// What the clock chip shows when the guest starts.
struct Clock {
  bool localtime = false;  ///< the host's local time, not UTC
  i64 ahead = 0;           ///< seconds by which it is ahead of that; below 0: behind
  bool operator==(const Clock&) const = default;
};

struct Vm {
  std::string name;
  std::string uuid;          ///< in its canonical form; empty: the tool makes one
  std::string type = "kvm";  ///< libvirt's domain type: "kvm" or "qemu"
  std::string emulator;      ///< path; empty: the tool's default
  std::string machine;       ///< QEMU's: "q35"; empty: the renderer's default
  u64 memory_kib = 0;
  u32 vcpus = 1;
  std::string kernel, ramdisk, cmdline;  ///< direct boot; empty: none
  Cpu cpu;
  std::vector<Epc> epc;
  std::vector<GuestNode> nodes;  ///< empty: as many as the EPC names (guest_nodes())
  LaunchControl launch;
  Clock clock;
  std::optional<bool> provision;  ///< enclaves may have the provisioning key; absent: nobody said
  bool operator==(const Vm&) const = default;
};

/// What a reader found that a Vm has no place for (disks, networks), with its position: worth a warning.
struct ReadVm {
  Vm vm;
  std::vector<Diagnostic> ignored;
};

/// A fact of the Vm that a target has no words for: an error unless the caller accepts the loss, or it is a minor one.
struct Loss {
  std::string what;    ///< "launch hash 0123…", "feature sgx-aex-notify"
  std::string why;     ///< "QEMU 7.2 cannot set IA32_SGXLEPUBKEYHASH"
  bool minor = false;  ///< of neither CPU nor SGX, and the target has its own: worth telling
  bool operator==(const Loss&) const = default;
};

/// What a renderer made, and what of the Vm is not in it.
struct Rendered {
  std::string text;
  std::vector<Loss> losses;
};

}  // namespace cloister::toolstack::vm
