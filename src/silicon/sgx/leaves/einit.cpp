// ENCLS[EINIT] (SDM vol. 3D, 38.3): checks the signature and who may launch, and makes the enclave one that can be
// entered.
//
// Never returns SGX_UNMASKED_EVENT: to the guest the leaf is one instruction, and interrupts wait for its end.
#include <cstring>

#include "arch/try.hpp"
#include "silicon/sgx/keys/cmac.hpp"
#include "silicon/sgx/leaf.hpp"
#include "silicon/sgx/leaves/measurement.hpp"
#include "silicon/sgx/leaves/sigstruct.hpp"

namespace cloister::silicon {

namespace {

using arch::PageType;
using arch::SgxError;

/// IA32_SGXLEPUBKEYHASH0-3 as a digest.
arch::Bytes32 launch_signer(const Cpu& cpu) {
  arch::Bytes32 digest;
  std::memcpy(digest.data(), cpu.lepubkeyhash.data(), digest.size());
  return digest;
}

bool same_where(u64 a, u64 b, u64 mask) { return ((a ^ b) & mask) == 0; }

/// SECS fields that the signer demands.
bool matches_signature(const arch::Secs& secs, const arch::Sigstruct& sig) {
  const arch::Attributes &own = secs.attributes, &wanted = sig.attributes, &mask = sig.attributemask;
  return !fails("EINIT.attributes", !same_where(own.flags, wanted.flags, mask.flags)) &&
         !fails("EINIT.xfrm", !same_where(own.xfrm, wanted.xfrm, mask.xfrm)) &&
         !fails("EINIT.miscselect", !same_where(secs.miscselect, sig.miscselect, sig.miscmask));
}

bool reserved_clear(const arch::Einittoken& token) {
  return !fails("EINIT.token_valid", (token.valid & ~1u) != 0) &&
         !fails("EINIT.token_reserved1", !all_zero(token.reserved1)) &&
         !fails("EINIT.token_reserved2", !all_zero(token.reserved2)) &&
         !fails("EINIT.token_reserved3", !all_zero(token.reserved3)) &&
         !fails("EINIT.token_reserved4", !all_zero(token.reserved4));
}

/// The key that the launch enclave got from EGETKEY for this token.
arch::Bytes16 launch_key(const PlatformKeys& keys, const arch::Einittoken& token, const arch::Bytes32& signer) {
  KeyDependencies d;
  d.keyname = static_cast<u16>(arch::KeyName::einittoken);
  d.isvprodid = token.isvprodidle;
  d.isvsvn = token.isvsvnle;
  d.cet_attributes = token.cet_masked_attributes_le;
  d.miscselect = token.maskedmiscselectle;
  d.cpusvn = token.cpusvnle;
  d.ownerepoch = keys.ownerepoch();
  d.seal_fuses = keys.seal_fuses();
  d.attributes = token.maskedattributesle;
  d.mrsigner = signer;
  d.keyid = token.keyid;
  d.padding = signature_padding();
  return keys.derive(d);
}

/// Launch control without the launch signer's own signature.
SgxError check_token(const LeafContext& ctx, const arch::Einittoken& token, const arch::Secs& secs,
                     const arch::Bytes32& mrenclave, const arch::Bytes32& mrsigner) {
  const bool debug_launcher = (token.maskedattributesle.flags & arch::attributes::debug) != 0;
  if (fails("EINIT.token_debug", debug_launcher && (secs.attributes.flags & arch::attributes::debug) == 0)) {
    return SgxError::invalid_einittoken;
  }
  if (!reserved_clear(token)) return SgxError::invalid_einittoken;
  const PlatformKeys& keys = ctx.package.keys();
  if (fails("EINIT.token_cpusvn", !keys.supports_cpusvn(token.cpusvnle))) return SgxError::invalid_cpusvn;
  const arch::Bytes16 key = launch_key(keys, token, launch_signer(ctx.cpu()));
  const std::span maced(reinterpret_cast<const u8*>(&token), arch::einittoken_maced_bytes);
  if (fails("EINIT.token_mac", !same_mac(aes_cmac(key, maced), token.mac))) return SgxError::invalid_einittoken;
  if (fails("EINIT.token_mrenclave", token.mrenclave != mrenclave) ||
      fails("EINIT.token_mrsigner", token.mrsigner != mrsigner)) {
    return SgxError::invalid_measurement;
  }
  if (fails("EINIT.token_attributes", token.attributes != secs.attributes)) return SgxError::invalid_attribute;
  return SgxError::success;
}

/// The checks on a SECS that is held, from its measurement on.
SgxError check_launch(const LeafContext& ctx, const arch::Secs& secs, const arch::Sigstruct& sig,
                      const arch::Einittoken& token, const arch::Bytes32& mrenclave, const arch::Bytes32& mrsigner) {
  if (fails("EINIT.enclavehash", mrenclave != sig.enclavehash)) return SgxError::invalid_measurement;
  // EINITTOKENKEY is for launch enclaves, by whomever the platform's owner trusts.
  constexpr u64 controlled = arch::attributes::einittokenkey;
  const bool launch_signed = mrsigner == launch_signer(ctx.cpu());
  if (fails("EINIT.controlled", (secs.attributes.flags & controlled) != 0 && !launch_signed)) {
    return SgxError::invalid_attribute;
  }
  if (!matches_signature(secs, sig)) return SgxError::invalid_attribute;
  if ((token.valid & 1) != 0) return check_token(ctx, token, secs, mrenclave, mrsigner);
  return fails("EINIT.launch_signer", !launch_signed) ? SgxError::invalid_einittoken : SgxError::success;
}

}  // namespace

LeafResult einit(LeafContext& ctx) {
  constexpr u64 token_alignment = 512;
  const u64 secs_at = ctx.rcx();
  TRY(ctx.aligned(ctx.rbx(), arch::page_size, "EINIT.rbx_aligned"));
  TRY(ctx.aligned(secs_at, arch::page_size, "EINIT.rcx_aligned"));
  TRY(ctx.aligned(ctx.rdx(), token_alignment, "EINIT.rdx_aligned"));
  const auto index = TRY(ctx.epc(secs_at, Access::write, "EINIT.rcx_epc"));
  const auto sig = TRY(ctx.read_as<arch::Sigstruct>(ctx.rbx()));
  const auto token = TRY(ctx.read_as<arch::Einittoken>(ctx.rdx()));
  if (!well_formed(sig)) return failure(SgxError::invalid_sig_struct);
  if (fails("EINIT.signature", !signature_valid(sig))) return failure(SgxError::invalid_signature);
  const arch::Bytes32 mrsigner = mrsigner_of(sig);

  EpcmEntry& entry = ctx.epcm(index);
  const Held held(entry.lock, LockMode::shared);
  if (fails("EINIT.rcx_busy", !held)) return leaf_gp();
  SecsPage& page = ctx.secs(index);
  const arch::Secs& secs = page.architectural;
  bool kss = false;
  {
    const MutexLock guard(ctx.package.mutex());
    if (fails("EINIT.rcx_valid", !entry.valid) || fails("EINIT.rcx_type", entry.type != PageType::secs)) {
      return ctx.epc_fault(secs_at);
    }
    // Another EINIT of this enclave may be setting ATTRIBUTES.INIT.
    kss = (secs.attributes.flags & arch::attributes::kss) != 0;
  }
  if (fails("EINIT.isvfamilyid", !kss && !all_zero(sig.isvfamilyid))) return failure(SgxError::invalid_sig_struct);
  const Held building(entry.build_lock, LockMode::exclusive);
  if (fails("EINIT.measuring", !building) || fails("EINIT.initialised", page.initialised())) return leaf_gp();

  const arch::Bytes32 mrenclave = measurement_of(page).finish();
  const SgxError error = check_launch(ctx, secs, sig, token, mrenclave, mrsigner);
  if (error != SgxError::success) return failure(error);

  ctx.touch(index);
  const MutexLock guard(ctx.package.mutex());
  SecsInternal& internal = page.live();
  internal.padding = signature_padding();
  internal.isvextprodid = sig.isvextprodid;
  internal.isvfamilyid = sig.isvfamilyid;
  page.architectural.mrenclave = mrenclave;
  page.architectural.mrsigner = mrsigner;
  page.architectural.isvprodid = sig.isvprodid;
  page.architectural.isvsvn = sig.isvsvn;
  page.architectural.attributes.flags |= arch::attributes::init;
  return success();
}

}  // namespace cloister::silicon
