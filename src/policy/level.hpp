// Levelling: whether a host can run a policy, what all hosts of a pool can run, and between which of them a guest can
// move. Pure functions over host views, wherever those were read. What is not known is never granted.
#pragma once

#include <array>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "policy/cpu_map.hpp"
#include "policy/cpu_model.hpp"
#include "policy/host_view.hpp"
#include "policy/known.hpp"

namespace cloister::policy {

// ------------------------------------------------------------------------------------------------ checking

/// What a guest is to have. Names are any tool's; numbers that nobody asked for are 0.
struct Wish {
  std::vector<std::string> flags;
  std::vector<std::string> without;         ///< of the model's: nothing is asked of the host there
  std::vector<std::string> forbidden = {};  ///< a host that has one of them is refused
  std::string vendor = {};                  ///< who must have made the processor, as the map spells it; empty: anybody
  bool strict = false;                      ///< a host that has anything beyond is refused
  std::string model;                        ///< of the CPU map; empty: none
  u64 xfrm = 0;                             ///< components that enclaves use
  u8 log2_size_32 = 0, log2_size_64 = 0;
  LaunchRequest launch;
  u64 epc_bytes = 0;
  std::string without_kvm = {};  ///< says that the guest runs on another hypervisor, which has no SGX to give
};

/// A list of names with commas or blanks between them: flags in any spelling, as "name", "+name", "name=on" (wanted) or
/// "-name", "name=off", and first, if `map` has it, a CPU model.
Wish read_wish(std::string_view names, const CpuMap& map);

/// One thing that was asked for.
struct CheckedFlag {
  std::string name;   ///< our first name, or the map's
  std::string asked;  ///< as the policy spells it
  std::string place;  ///< "leaf 0x12, sub-leaf 1, EAX bit 4"; empty for what is no bit
  Known here = Known::unknown;
  std::string why;                       ///< of `no` and `unknown`, if more than the bit
  std::string consequence;               ///< what a guest without it loses
  std::vector<std::string> takes_along;  ///< other flags of the policy, which mean nothing without it
  bool implied = false;                  ///< nobody asked, but what was asked for needs it
  bool operator==(const CheckedFlag&) const = default;
};

/// A name that no table has.
struct UnknownName {
  std::string name;
  bool model = false;                ///< where a CPU model's was expected, not a flag's
  std::vector<std::string> nearest;  ///< three at most
  bool operator==(const UnknownName&) const = default;
};
/// "unknown CPU flag 'sgxlx', did you mean 'sgxlc' or …?"
std::string message_of(const UnknownName& unknown);

struct Check {
  std::vector<CheckedFlag> flags;  ///< in the order of the policy, implied ones behind what implies them
  std::vector<CheckedFlag> rest;   ///< the model, XFRM, sizes, launch control, EPC
  Known all = Known::yes;          ///< no if one is missing, else unknown if one is
};
/// The error lists the names that no table has, in the policy's order.
tl::expected<Check, std::vector<UnknownName>> check(const HostView& host, const Wish& wish, const CpuMap& map);

// ------------------------------------------------------------------------------------------------ levelling

/// What a domain may ask of launch control on every host of a pool.
struct LaunchInCommon {
  enum class Hash : u8 {
    any,      ///< each domain its own
    one,      ///< `hash` and no other
    none,     ///< the hosts are locked to different ones
    unknown,  ///< of a host nobody knows
  } hash = Hash::unknown;
  std::array<u64, 4> value = arch::msr::intel_lepubkeyhash;  ///< of `one`
  bool writable = false;                                     ///< by guests
  bool operator==(const LaunchInCommon&) const = default;
};
std::string_view name_of(LaunchInCommon::Hash hash);

/// The SGX that a guest can have on every host.
struct SgxPolicy {
  std::vector<std::string> flags;         ///< by first name, in the order of features(); empty: no SGX
  u64 xfrm = 0;                           ///< 0: without SGX, or where a host does not tell
  u8 log2_size_32 = 0, log2_size_64 = 0;  ///< likewise
  LaunchInCommon launch;
  bool operator==(const SgxPolicy&) const = default;
};

/// What some hosts have and not all, a flag or an SGX limit, and who is the reason.
struct Cost {
  std::string flag;   ///< or "XFRM avx512", "64-bit enclaves of 2^47 bytes", …
  std::string place;  ///< "leaf 0x12, sub-leaf 1, EAX bit 4"
  bool sgx = false;
  std::vector<std::size_t> without, unknown;  ///< hosts by their index
  bool operator==(const Cost&) const = default;
};

/// What a host has that CPUID bits do not say.
struct HostSummary {
  std::string name;
  SgxState state = SgxState::unknown;
  LaunchCase launch = LaunchCase::unknown;
  std::optional<NamedCpu> cpu;  ///< what it is called
  std::optional<std::vector<EpcSectionView>> epc;
  std::string obstacle = {};  ///< why its guests can have no SGX; empty: nothing is known to be against it
};

/// Whether a guest with all that one host offers runs on after a move to another.
struct Migration {
  std::size_t from = 0, to = 0;  ///< hosts by their index
  Known safe = Known::yes;
  std::vector<std::string> lost;     ///< SGX first
  std::vector<std::string> unknown;  ///< what might be lost
  bool operator==(const Migration&) const = default;
};

struct Baseline {
  std::vector<HostSummary> hosts;
  SgxPolicy sgx;
  std::vector<std::string> no_sgx;  ///< why there is none, by host: "HOST: REASON"
  std::optional<NamedCpu> cpu;
  std::string no_cpu;                  ///< why there is none
  std::vector<Cost> costs;             ///< SGX first
  std::vector<std::string> immovable;  ///< flags that all hosts have, and that no guest that moves may have
  std::optional<u8> epc_property;      ///< of all sections; absent: they differ or are not known
  std::optional<u64> epc_bytes;        ///< of the host with the least; absent: not known
  std::vector<Migration> migrations;   ///< every pair, by `from`, then `to`
};
/// The hosts are one at least.
Baseline baseline(std::span<const HostView> hosts, const CpuMap& map);

/// Asks for all that the baseline grants.
Wish wish_of(const Baseline& baseline);

/// A host with what else decides about moves.
struct LevelledHost {
  const HostView& view;
  SgxReport sgx;
  MappedCpu cpu;
};
std::vector<LevelledHost> look_at(std::span<const HostView> hosts, const CpuMap& map);
std::vector<Migration> migrations(const std::vector<LevelledHost>& hosts, const CpuMap& map);

// ------------------------------------------------------------------------------------------------ what both look at

/// The SGX features that guests can have, each bit once, in the order of features().
std::vector<const Feature*> sgx_features();
/// Components of XFRM by the feature that brings them: "avx", "mpx", …; a bit that none has by its number.
std::vector<std::string> names_of_xfrm(u64 xfrm);
/// All of the sections; nullopt: unknown.
std::optional<u64> bytes_of(const std::optional<std::vector<EpcSectionView>>& sections);
/// The hash that the host is locked to, or that it has where nothing can be set; nullopt: unknown, or any.
std::optional<std::array<u64, 4>> locked_hash(const HostView& host, LaunchCase launch);

}  // namespace cloister::policy
