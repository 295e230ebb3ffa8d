// ENCLU[EGETKEY] (SDM vol. 3D, 38.4, EGETKEY, and table 38-66): a key for the enclave that runs.
#include <cstring>

#include "arch/try.hpp"
#include "silicon/memory/guest_bytes.hpp"
#include "silicon/sgx/leaf.hpp"
#include "silicon/state/debug.hpp"

namespace cloister::silicon {

namespace {

using arch::Keyrequest;
using arch::SgxError;
namespace policy = arch::keypolicy;

/// What a key depends on beyond its name, ATTRIBUTES, MISCSELECT and PADDING, which all have: the manual's table. A
/// dependency that a key does not have is zero.
struct KeyRule {
  u64 needs = 0;                 ///< attribute that the enclave must have
  bool current_svn = false;      ///< the processor's CPUSVN and no ISVSVN; else those of the request, which are checked
  bool check_config = false;     ///< the request's CONFIGSVN must not be beyond the enclave's
  bool whole = false;            ///< ATTRIBUTES, MISCSELECT and the enclave's identity without masks: the report key
  bool masks = false;            ///< the masks themselves
  bool by_policy = false;        ///< KEYPOLICY, and by it ISVPRODID, ISVFAMILYID, ISVEXTPRODID, CONFIGID and CONFIGSVN
  bool isvprodid = false;        ///< ISVPRODID, where no policy says
  bool always_mrsigner = false;  ///< MRSIGNER, whatever the policy says
  bool policy_identity = false;  ///< MRENCLAVE and MRSIGNER by policy
  bool keyid = false, ownerepoch = false, seal_fuses = false;
};

/// By KEYNAME.
constexpr KeyRule rules[] = {
    /* EINITTOKEN_KEY */
    {.needs = arch::attributes::einittokenkey,
     .isvprodid = true,
     .always_mrsigner = true,
     .keyid = true,
     .ownerepoch = true,
     .seal_fuses = true},
    /* PROVISION_KEY */
    {.needs = arch::attributes::provisionkey, .masks = true, .isvprodid = true, .always_mrsigner = true},
    /* PROVISION_SEAL_KEY */
    {.needs = arch::attributes::provisionkey,
     .masks = true,
     .by_policy = true,
     .always_mrsigner = true,
     .seal_fuses = true},
    /* REPORT_KEY */
    {.current_svn = true, .whole = true, .keyid = true, .ownerepoch = true, .seal_fuses = true},
    /* SEAL_KEY */
    {.check_config = true,
     .masks = true,
     .by_policy = true,
     .policy_identity = true,
     .keyid = true,
     .ownerepoch = true,
     .seal_fuses = true},
};

/// INIT and DEBUG are always part of a key.
constexpr u64 required_mask = arch::attributes::init | arch::attributes::debug;

std::optional<SgxError> refused(const KeyRule& rule, const Keyrequest& request, const arch::Secs& secs,
                                const PlatformKeys& keys) {
  if (fails("EGETKEY.attribute", (secs.attributes.flags & rule.needs) != rule.needs))
    return SgxError::invalid_attribute;
  if (rule.current_svn) return std::nullopt;
  if (fails("EGETKEY.cpusvn", !keys.supports_cpusvn(request.cpusvn))) return SgxError::invalid_cpusvn;
  if (fails("EGETKEY.isvsvn", request.isvsvn > secs.isvsvn)) return SgxError::invalid_isvsvn;
  if (fails("EGETKEY.configsvn", rule.check_config && request.configsvn > secs.configsvn)) {
    return SgxError::invalid_isvsvn;
  }
  return std::nullopt;
}

void add_by_policy(KeyDependencies& d, const Keyrequest& request, const arch::Secs& secs,
                   const SecsInternal& internal) {
  const u16 chosen = request.keypolicy;
  d.keypolicy = chosen;
  if ((chosen & policy::noisvprodid) == 0) d.isvprodid = secs.isvprodid;
  if ((chosen & policy::isvfamilyid) != 0) d.isvfamilyid = internal.isvfamilyid;
  if ((chosen & policy::isvextprodid) != 0) d.isvextprodid = internal.isvextprodid;
  if ((chosen & policy::configid) != 0) {
    d.configid = secs.configid;
    d.configsvn = request.configsvn;
  }
}

KeyDependencies dependencies(const KeyRule& rule, const Keyrequest& request, const SecsPage& page,
                             const PlatformKeys& keys) {
  const arch::Secs& secs = page.architectural;
  const SecsInternal internal = page.internal();
  KeyDependencies d;
  d.keyname = request.keyname;
  d.cpusvn = rule.current_svn ? keys.cpusvn() : request.cpusvn;
  d.isvsvn = rule.current_svn ? u16{0} : request.isvsvn;
  d.padding = rule.whole ? signature_padding() : internal.padding;
  if (rule.whole) {
    d.attributes = secs.attributes;
    d.miscselect = secs.miscselect;
    d.cet_attributes = secs.cet_attributes;
    d.mrenclave = secs.mrenclave;
    d.configid = secs.configid;
    d.configsvn = secs.configsvn;
  } else {
    d.attributes.flags = (request.attributemask.flags | required_mask) & secs.attributes.flags;
    d.attributes.xfrm = request.attributemask.xfrm & secs.attributes.xfrm;
    d.miscselect = request.miscmask & secs.miscselect;
    d.cet_attributes = request.cet_attributes_mask & secs.cet_attributes;
  }
  if (rule.masks) {
    d.attributesmask = request.attributemask;
    d.miscmask = ~request.miscmask;
  }
  if (rule.by_policy) add_by_policy(d, request, secs, internal);
  if (rule.isvprodid) d.isvprodid = secs.isvprodid;
  if (rule.always_mrsigner) d.mrsigner = secs.mrsigner;
  if (rule.policy_identity) {
    d.cet_attributes_mask = request.cet_attributes_mask;
    if ((request.keypolicy & policy::mrenclave) != 0) d.mrenclave = secs.mrenclave;
    if ((request.keypolicy & policy::mrsigner) != 0) d.mrsigner = secs.mrsigner;
  }
  if (rule.keyid) d.keyid = request.keyid;
  if (rule.ownerepoch) d.ownerepoch = keys.ownerepoch();
  if (rule.seal_fuses) d.seal_fuses = keys.seal_fuses();
  return d;
}

bool acceptable(const Keyrequest& request, const arch::Secs& secs) {
  if (fails("EGETKEY.reserved1", request.reserved1 != 0)) return false;
  if (fails("EGETKEY.reserved2", !all_zero(request.reserved2))) return false;
  if (fails("EGETKEY.keypolicy", (request.keypolicy & ~policy::defined) != 0)) return false;
  if ((secs.attributes.flags & arch::attributes::kss) != 0) return true;
  return !fails("EGETKEY.keypolicy_kss", (request.keypolicy & policy::needs_kss) != 0) &&
         !fails("EGETKEY.configsvn_kss", request.configsvn != 0);
}

}  // namespace

LeafResult egetkey(LeafContext& ctx) {
  constexpr u64 request_alignment = 512, key_bytes = sizeof(arch::Bytes16);
  const u64 request_at = ctx.rbx(), output_at = ctx.rcx();
  TRY(ctx.aligned(request_at, request_alignment, "EGETKEY.rbx_aligned"));
  const auto source = TRY(ctx.enclave_operand(request_at, Access::read, "EGETKEY.rbx"));
  TRY(ctx.aligned(output_at, key_bytes, "EGETKEY.rcx_aligned"));
  const auto output = TRY(ctx.enclave_operand(output_at, Access::write, "EGETKEY.rcx"));

  Keyrequest request;
  copy_guest(&request, ctx.package.page(source) + arch::page_offset(request_at), sizeof request);
  note_data_access(ctx.cpu(), request_at, sizeof request, Access::read);
  const SecsPage secs = ctx.secs_now(ctx.cpu().enclave.secs);
  if (!acceptable(request, secs.architectural)) return leaf_gp();
  if (fails("EGETKEY.keyname", request.keyname >= std::size(rules))) return failure(SgxError::invalid_keyname);
  const KeyRule& rule = rules[request.keyname % std::size(rules)];
  const PlatformKeys& keys = ctx.package.keys();
  if (const auto error = refused(rule, request, secs.architectural, keys)) return failure(*error);

  const arch::Bytes16 key = keys.derive(dependencies(rule, request, secs, keys));
  ctx.touch(output);
  copy_guest(ctx.package.page(output) + arch::page_offset(output_at), key.data(), key.size());
  note_data_access(ctx.cpu(), output_at, key_bytes, Access::write);
  return success();
}

}  // namespace cloister::silicon
