// How a page leaves the EPC and comes back: AES-128-GCM under the platform's paging key, with the page's version as
// the initialisation vector and a header that is authenticated with it (SDM vol. 3D, 36.5 and EWB: operation).
#pragma once

#include <optional>
#include <span>

#include "arch/sgx.hpp"

namespace cloister::silicon {

/// The MAC header: whose page this is, and what the EPCM said of it. Its layout is ours: nobody else reads it.
struct PagingHeader {
  arch::Secinfo secinfo{};
  u64 eid = 0;  ///< of the owner; 0 for SECS and VA pages
  u64 linaddr = 0;
  std::array<u8, 40> reserved{};  ///< PCMD's
  u64 unused = 0;
};
static_assert(sizeof(PagingHeader) == 128);

using PageBytes = std::span<u8, arch::page_size>;
using ConstPageBytes = std::span<const u8, arch::page_size>;

/// Encrypts `page` to `out`; the MAC. A version is used once.
arch::Bytes16 seal_page(const arch::Bytes16& key, u64 version, const PagingHeader& header, ConstPageBytes page,
                        PageBytes out);
/// Decrypts `sealed` to `page`. False: the MAC is another; `page` is zeroed then.
bool open_page(const arch::Bytes16& key, u64 version, const PagingHeader& header, ConstPageBytes sealed,
               const arch::Bytes16& mac, PageBytes page);

/// AES-128-GCM with a 96-bit initialisation vector and a 128-bit tag (NIST SP 800-38D).
using GcmIv = std::array<u8, 12>;
arch::Bytes16 gcm_seal(const arch::Bytes16& key, const GcmIv& iv, std::span<const u8> aad, std::span<const u8> plain,
                       u8* sealed);
bool gcm_open(const arch::Bytes16& key, const GcmIv& iv, std::span<const u8> aad, std::span<const u8> sealed,
              const arch::Bytes16& tag, u8* plain);

}  // namespace cloister::silicon
