// Sizes and numbers as libvirt and QEMU write them.
#pragma once

#include <optional>
#include <string_view>

#include "arch/types.hpp"

namespace cloister::toolstack::vm {

inline constexpr u64 mebibyte = 1 << 20;
/// Of EPC.
inline constexpr u64 page_kib = 4;
/// Larger ones are refused, so that sums of them fit.
inline constexpr u64 most_kib = u64{1} << 42;

/// libvirt's `unit` attribute (formatdomain, "memory"): bytes in one; nullopt for an unknown word.
std::optional<u64> bytes_of_unit(std::string_view unit);

/// QEMU's (util/cutils.c, qemu_strtosz): digits, with a fraction or without, then one of b, k, M, G, T, P, E in either
/// case, or nothing, which counts as `plain` bytes. The result is
/// in KiB, rounded up.
std::optional<u64> read_qemu_size(std::string_view text, u64 plain);

/// Decimal digits alone, 18 at most; nullopt for anything else, and above `most`.
std::optional<u64> read_whole(std::string_view text, u64 most);

/// What a memory device of this size has in the end: libvirt rounds it up (qemuDomainGetMemoryModuleSizeAlignment).
u64 as_libvirt_gives(u64 kib);

/// KiB, rounded up; nullopt above most_kib.
std::optional<u64> in_kib(u64 count, u64 unit);

}  // namespace cloister::toolstack::vm
