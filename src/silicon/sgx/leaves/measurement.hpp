// MRENCLAVE while an enclave is built: SHA-256 over 64-byte blocks, kept between leaves as a chaining value and a count
// (SDM vol. 3D, 36.4.1 and the operations of ECREATE, EADD, EEXTEND and EINIT).
//
// Every update is a whole number of blocks, so that the 32 bytes of SECS.MRENCLAVE and one counter are all the state
// there is, and survive EWB and ELDU of the SECS.
#pragma once

#include <span>

#include "arch/sgx.hpp"
#include "silicon/sgx/epc/secs.hpp"

namespace cloister::silicon {

inline constexpr std::size_t hash_block = 64;

struct Measurement {
  arch::Bytes32 chain;  ///< SHA-256's eight words, each big-endian: after finish(), the digest
  u64 blocks = 0;

  /// SHA-256's initial value.
  static Measurement start();
  /// `bytes` is a multiple of 64 long.
  void update(std::span<const u8> bytes);
  /// The digest of everything so far, with SHA-256's own padding.
  arch::Bytes32 finish() const;

  // The block that each leaf puts before its data.
  void ecreate(u32 ssa_frame_size, u64 size);
  void eadd(u64 offset, const arch::Secinfo& secinfo);
  void eextend(u64 offset, std::span<const u8, 256> chunk);
};

/// What a SECS holds of it. Caller holds the SECS's build lock.
inline Measurement measurement_of(SecsPage& secs) { return {secs.architectural.mrenclave, secs.live().hash_blocks}; }
inline void store_measurement(SecsPage& secs, const Measurement& m) {
  secs.architectural.mrenclave = m.chain;
  secs.live().hash_blocks = m.blocks;
}

/// SHA-256 of `bytes` at once.
arch::Bytes32 sha256(std::span<const u8> bytes);

}  // namespace cloister::silicon
