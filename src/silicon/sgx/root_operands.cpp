// Root mode's linear addresses (root_operands.hpp).
#include "silicon/sgx/root_operands.hpp"

#include <algorithm>
#include <cstring>

#include "silicon/isa/system/descriptor.hpp"

namespace cloister::silicon {

namespace {

constexpr u64 frames_at = u64{1} << 63;
constexpr u64 last_frame = (frames_at - 1) >> arch::page_shift;  ///< beyond any processor's physical addresses

u64 linear_of(Mfn frame) { return frames_at | std::min(frame.value, last_frame) << arch::page_shift; }
u64 linear_of(const void* memory) { return reinterpret_cast<u64>(memory); }

tl::unexpected<Miss> not_there(u64 linear) {
  return tl::unexpected(Miss{.fault = {arch::vector::pf, true, 0, linear}, .exit = {}});
}

}  // namespace

RootOperands::RootOperands(const PackageImpl& package, const vmx::LeafOperands& operands)
    : package_(package), operands_(operands) {
  auto next = memory_.begin();
  const auto give = [&](const void* at, u64 bytes, bool writable) { *next++ = {linear_of(at), bytes, writable}; };
  if (const vmx::PageinfoOperand* const info = operands.pageinfo) {
    pageinfo_ = {info->linaddr, linear_of(info->source.data()), linear_of(info->secinfo.data()),
                 info->secs ? linear_of(*info->secs) : 0};
    give(&pageinfo_, sizeof pageinfo_, true);
    give(info->source.data(), info->source.size(), true);
    give(info->secinfo.data(), info->secinfo.size(), true);
  }
  if (operands.secinfo != nullptr) give(operands.secinfo, sizeof *operands.secinfo, false);
  if (operands.rdinfo != nullptr) give(operands.rdinfo, sizeof *operands.rdinfo, true);
  give(&operands.context, sizeof operands.context, false);
}

u64 RootOperands::reg(arch::Gpr which) const {
  switch (which) {
    case arch::rbx:
      if (operands_.pageinfo != nullptr) return linear_of(&pageinfo_);
      if (operands_.secinfo != nullptr) return linear_of(operands_.secinfo);
      if (operands_.rdinfo != nullptr) return linear_of(operands_.rdinfo);
      if (operands_.child) return linear_of(*operands_.child);
      // EPA's; for the other leaves that have an RBX no address.
      return static_cast<u64>(arch::PageType::va);
    case arch::rcx: return linear_of(operands_.page);
    case arch::rdx:
      if (!operands_.version) return linear_of(&operands_.context);
      // The slots end with their page.
      if (operands_.version->index >= arch::page_size / sizeof(u64)) return 1;
      return linear_of(operands_.version->page) + operands_.version->index * sizeof(u64);
    default: return 0;
  }
}

std::optional<Mfn> RootOperands::frame_at(u64 linear) {
  if (linear < frames_at) return std::nullopt;
  return Mfn{(linear & ~frames_at) >> arch::page_shift};
}

tl::expected<OperandSource::Page, Miss> RootOperands::page(u64 linear, Access) {
  const auto frame = frame_at(linear);
  if (!frame) return Page{std::nullopt, arch::page_base(linear)};
  return Page{package_.index_of(*frame), arch::address_of(*frame).value};
}

bool RootOperands::given(u64 linear, unsigned bytes, bool to_write) const {
  return std::ranges::any_of(memory_, [&](const Memory& m) {
    return linear >= m.at && linear - m.at <= m.bytes && bytes <= m.bytes - (linear - m.at) &&
           (m.writable || !to_write);
  });
}

tl::expected<void, Miss> RootOperands::read(u64 linear, void* to, unsigned bytes) {
  if (!given(linear, bytes, false)) return not_there(linear);
  std::memcpy(to, reinterpret_cast<const void*>(linear), bytes);
  return {};
}

tl::expected<void, Miss> RootOperands::write(u64 linear, const void* from, unsigned bytes) {
  if (!given(linear, bytes, true)) return not_there(linear);
  std::memcpy(reinterpret_cast<void*>(linear), from, bytes);
  return {};
}

void RootOperands::give_back() const {
  if (operands_.pageinfo != nullptr) operands_.pageinfo->linaddr = pageinfo_.linaddr;
}

}  // namespace cloister::silicon
