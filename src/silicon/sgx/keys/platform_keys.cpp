// The platform's keys, each from the root secret by HMAC-SHA256 of a label (and the boot number, for what must not
// survive a power cycle), cut to its size.
#include "silicon/sgx/keys/platform_keys.hpp"

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <cstdlib>
#include <cstring>
#include <string_view>

#include "silicon/sgx/keys/cmac.hpp"

namespace cloister::silicon {

namespace {

arch::Bytes32 labelled(const RootSecret& root, std::string_view label, u64 boot) {
  std::array<u8, 64> message{};
  std::memcpy(message.data(), &boot, sizeof boot);
  std::memcpy(message.data() + sizeof boot, label.data(), label.size());
  arch::Bytes32 key{};
  unsigned bytes = 0;
  // Only the host's memory can be at fault; a made-up key would be worse than none.
  if (HMAC(EVP_sha256(), root.data(), static_cast<int>(root.size()), message.data(), sizeof boot + label.size(),
           key.data(), &bytes) == nullptr) {
    std::abort();
  }
  return key;
}

arch::Bytes16 half(const arch::Bytes32& whole) {
  arch::Bytes16 h;
  std::memcpy(h.data(), whole.data(), h.size());
  return h;
}

/// The fields one after another, little-endian, without gaps.
class Packed {
 public:
  template <class... T>
  explicit Packed(const T&... fields) {
    (add(fields), ...);
  }
  std::span<const u8> bytes() const { return std::span(bytes_).first(used_); }

 private:
  template <class T>
  void add(const T& field) {
    static_assert(std::has_unique_object_representations_v<T>);
    std::memcpy(bytes_.data() + used_, &field, sizeof field);
    used_ += sizeof field;
  }
  std::array<u8, 768> bytes_{};
  std::size_t used_ = 0;
};

}  // namespace

PlatformKeys::PlatformKeys(const RootSecret& root, const RootSecret& paging, u64 own_boot,
                           MachineCounters::Pointer counters)
    : PlatformKeys(root, paging, counters != nullptr ? counters->boot() : own_boot) {
  counters_ = std::move(counters);
}

PlatformKeys::PlatformKeys(const RootSecret& root, const RootSecret& paging, u64 boot)
    : master_(half(labelled(root, "master", 0))),
      ownerepoch_(half(labelled(root, "owner epoch", 0))),
      seal_fuses_(half(labelled(root, "seal fuses", 0))),
      paging_key_(half(labelled(paging, "paging", boot))),
      report_keyid_(labelled(root, "report keyid", boot)) {}

void PlatformKeys::start_over(const RootSecret& root, const RootSecret& paging, u64 boot) {
  const PlatformKeys other(root, paging, boot);
  master_ = other.master_;
  ownerepoch_ = other.ownerepoch_;
  seal_fuses_ = other.seal_fuses_;
  paging_key_ = other.paging_key_;
  report_keyid_ = other.report_keyid_;
}

void PlatformKeys::adopt(const Paging& paging) {
  paging_key_ = paging.key;
  cpusvn_ = paging.cpusvn;
  if (counters_ != nullptr) return counters_->raise(paging.counts);
  raise(eid_, paging.counts.eid);
  raise(version_, paging.counts.version);
}

arch::Bytes16 PlatformKeys::derive(const KeyDependencies& d) const {
  const Packed packed(d.keyname, d.keypolicy, d.isvprodid, d.isvsvn, d.configsvn, d.cet_attributes,
                      d.cet_attributes_mask, d.miscselect, d.miscmask, d.cpusvn, d.isvextprodid, d.isvfamilyid,
                      d.ownerepoch, d.seal_fuses, d.attributes, d.attributesmask, d.mrenclave, d.mrsigner, d.keyid,
                      d.configid, d.padding);
  return aes_cmac(master_, packed.bytes());
}

const std::array<u8, 352>& signature_padding() {
  static constexpr std::array<u8, 352> padding = [] {
    // 00 01, 330 bytes of FF, 00, then the DigestInfo of SHA-256 up to the digest (RFC 8017, 9.2).
    constexpr u8 digest_info[] = {0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01,
                                  0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20};
    std::array<u8, 352> p{0x00, 0x01};
    constexpr std::size_t ones = 330;
    for (std::size_t i = 0; i < ones; ++i) p[2 + i] = 0xff;
    for (std::size_t i = 0; i < sizeof digest_info; ++i) p[2 + ones + 1 + i] = digest_info[i];
    return p;
  }();
  return padding;
}

}  // namespace cloister::silicon
