// ENCLU[EREPORT] (SDM vol. 3D, 38.4): who the running enclave is, with a MAC that the target enclave can check.
#include <cstring>

#include "arch/try.hpp"
#include "silicon/memory/guest_bytes.hpp"
#include "silicon/sgx/keys/cmac.hpp"
#include "silicon/sgx/leaf.hpp"
#include "silicon/state/debug.hpp"

namespace cloister::silicon {

namespace {

/// The report key of the target, as EGETKEY derives it inside the target.
KeyDependencies report_key(const arch::Targetinfo& target, const SecsInternal& own, const PlatformKeys& keys) {
  KeyDependencies d;
  d.keyname = static_cast<u16>(arch::KeyName::report);
  d.configsvn = target.configsvn;
  d.cet_attributes = target.cet_attributes;
  d.miscselect = target.miscselect;
  d.cpusvn = keys.cpusvn();
  d.ownerepoch = keys.ownerepoch();
  d.seal_fuses = keys.seal_fuses();
  d.attributes = target.attributes;
  d.mrenclave = target.measurement;
  d.keyid = keys.report_keyid();
  d.configid = target.configid;
  d.padding = own.padding;
  return d;
}

arch::Report report_of(const SecsPage& page, const arch::Bytes64& data, const PlatformKeys& keys) {
  const arch::Secs& secs = page.architectural;
  const SecsInternal internal = page.internal();
  arch::Report r{};
  r.cpusvn = keys.cpusvn();
  r.miscselect = secs.miscselect;
  r.cet_attributes = secs.cet_attributes;
  r.isvextprodid = internal.isvextprodid;
  r.attributes = secs.attributes;
  r.mrenclave = secs.mrenclave;
  r.mrsigner = secs.mrsigner;
  r.configid = secs.configid;
  r.isvprodid = secs.isvprodid;
  r.isvsvn = secs.isvsvn;
  r.configsvn = secs.configsvn;
  r.isvfamilyid = internal.isvfamilyid;
  r.reportdata = data;
  r.keyid = keys.report_keyid();
  return r;
}

}  // namespace

LeafResult ereport(LeafContext& ctx) {
  constexpr u64 target_alignment = 512, data_alignment = 128, output_alignment = 512;
  const u64 target_at = ctx.rbx(), data_at = ctx.rcx(), output_at = ctx.rdx();
  TRY(ctx.aligned(target_at, target_alignment, "EREPORT.rbx_aligned"));
  const auto target_page = TRY(ctx.enclave_operand(target_at, Access::read, "EREPORT.rbx"));
  arch::Targetinfo target;
  copy_guest(&target, ctx.package.page(target_page) + arch::page_offset(target_at), sizeof target);
  note_data_access(ctx.cpu(), target_at, sizeof target, Access::read);
  if (fails("EREPORT.reserved1", target.reserved1 != 0) || fails("EREPORT.reserved2", !all_zero(target.reserved2)) ||
      fails("EREPORT.reserved3", !all_zero(target.reserved3))) {
    return leaf_gp();
  }

  TRY(ctx.aligned(data_at, data_alignment, "EREPORT.rcx_aligned"));
  const auto data_page = TRY(ctx.enclave_operand(data_at, Access::read, "EREPORT.rcx"));
  TRY(ctx.aligned(output_at, output_alignment, "EREPORT.rdx_aligned"));
  const auto output = TRY(ctx.enclave_operand(output_at, Access::write, "EREPORT.rdx"));
  arch::Bytes64 data;
  copy_guest(&data, ctx.package.page(data_page) + arch::page_offset(data_at), sizeof data);
  note_data_access(ctx.cpu(), data_at, sizeof data, Access::read);

  const SecsPage secs = ctx.secs_now(ctx.cpu().enclave.secs);
  const PlatformKeys& keys = ctx.package.keys();
  arch::Report report = report_of(secs, data, keys);
  const arch::Bytes16 key = keys.derive(report_key(target, secs.internal(), keys));
  report.mac = aes_cmac(key, std::span(reinterpret_cast<const u8*>(&report), arch::report_maced_bytes));
  ctx.touch(output);
  copy_guest(ctx.package.page(output) + arch::page_offset(output_at), &report, sizeof report);
  note_data_access(ctx.cpu(), output_at, sizeof report, Access::write);
  return std::monostate{};
}

}  // namespace cloister::silicon
