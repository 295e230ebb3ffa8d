// ENCLS[EEXTEND] (SDM vol. 3D, 38.3): measures 256 bytes of a page of an enclave that is being built.
#include "arch/try.hpp"
#include "silicon/sgx/leaf.hpp"
#include "silicon/sgx/leaves/measurement.hpp"

namespace cloister::silicon {

namespace {
constexpr u64 chunk_bytes = 256;

bool measurable(arch::PageType type) {
  using enum arch::PageType;
  return type == reg || type == tcs || type == ss_first || type == ss_rest;
}

/// Enclaves are mostly built page after page: while this chunk is hashed, the same one of the next page comes into the
/// cache, for EADD's copy.
void prefetch_next(const u8* chunk) {
  constexpr u64 line = 64;
  for (u64 at = 0; at < chunk_bytes; at += line) __builtin_prefetch(chunk + arch::page_size + at, 1);
}
}  // namespace

LeafResult eextend(LeafContext& ctx) {
  const u64 secs_at = ctx.rbx(), linear = ctx.rcx();
  TRY(ctx.aligned(secs_at, arch::page_size, "EEXTEND.rbx_aligned"));
  const auto secs_index = TRY(ctx.epc(secs_at, Access::write, "EEXTEND.rbx_epc"));
  TRY(ctx.aligned(linear, chunk_bytes, "EEXTEND.rcx_aligned"));
  const auto index = TRY(ctx.epc(linear, Access::read, "EEXTEND.rcx_epc"));

  // While the page is held its SECS, which has a child, cannot leave the EPC; and what is looked at here changes only
  // with the page held exclusively, so that the package's mutex is not needed.
  const EpcmEntry& entry = ctx.epcm(index);
  const Held held(ctx.epcm(index).lock, LockMode::shared);
  if (fails("EEXTEND.rcx_busy", !held)) return leaf_gp();
  if (fails("EEXTEND.rcx_valid", !entry.valid) || fails("EEXTEND.rcx_type", !measurable(entry.type))) {
    return ctx.epc_fault(linear, Access::read);
  }
  if (fails("EEXTEND.owner", entry.secs != secs_index)) return leaf_gp();
  SecsPage& secs = ctx.secs(secs_index);
  const Held building(ctx.epcm(secs_index).build_lock, LockMode::exclusive);
  if (fails("EEXTEND.measuring", !building) || fails("EEXTEND.initialised", secs.initialised())) return leaf_gp();

  const u64 in_page = arch::page_offset(linear);
  prefetch_next(ctx.package.page(index) + in_page);
  Measurement measurement = measurement_of(secs);
  measurement.eextend(entry.enclave_address - secs.architectural.base + in_page,
                      std::span<const u8, chunk_bytes>(ctx.package.page(index) + in_page, chunk_bytes));
  // No touch(): a SECS holds no code.
  store_measurement(secs, measurement);
  return std::monostate{};
}

}  // namespace cloister::silicon
