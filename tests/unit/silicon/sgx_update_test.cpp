// ENCLS[EUPDATESVN] (Intel 648682): what it changes and what it leaves, where firmware had loaded older microcode.
#include <set>

#include "sgx_bench.hpp"

namespace cloister::silicon {
namespace {

using arch::Bytes16;
using arch::PageType;
using arch::SgxError;

class SgxUpdate : public SgxBench {
 protected:
  static constexpr u32 secs_page = 0, data = 1;
  static constexpr u64 request_at = at(data), output_at = at(data) + 0x200;
  PlatformKeys& keys = package.keys();

  SgxUpdate() { keys.power_on({}); }

  Seen update() { return call(eupdatesvn, 0, 0); }
  /// An enclave's sealing key for this CPUSVN; nullopt if it may not have it.
  std::optional<Bytes16> sealing_key(const Bytes16& cpusvn) {
    make_secs(secs_page);
    make_child(data, secs_page);
    arch::Keyrequest request{};
    request.keyname = static_cast<u16>(arch::KeyName::seal);
    request.keypolicy = arch::keypolicy::mrenclave;
    request.cpusvn = cpusvn;
    std::memcpy(bytes(data), &request, sizeof request);
    go_inside(secs_page);
    const Seen seen = call(egetkey, request_at, output_at);
    go_outside();
    Bytes16 key;
    std::memcpy(key.data(), bytes(data) + 0x200, key.size());
    entry(data).valid = false;
    entry(secs_page).valid = false;
    EXPECT_TRUE(seen.ok() || seen.zf(SgxError::invalid_cpusvn)) << seen;
    return seen.ok() ? std::optional(key) : std::nullopt;
  }
};

TEST_F(SgxUpdate, RaisesCpusvnOnce) {
  EXPECT_EQ(keys.cpusvn(), Bytes16{});
  const Seen seen = update();
  EXPECT_TRUE(seen.ok() && seen.code) << seen;
  EXPECT_EQ(keys.cpusvn(), PlatformKeys::microcode);
  EXPECT_TRUE(update().cf(SgxError::no_update));
  EXPECT_EQ(keys.cpusvn(), PlatformKeys::microcode);
}

TEST_F(SgxUpdate, NeedsAnEpcWithoutAValidPage) {
  const Bytes16 paging = keys.paging_key();
  for (const u32 page : {0u, pages - 1}) {
    entry(page).type = PageType::va;
    entry(page).valid = true;
    EXPECT_TRUE(update().zf(SgxError::epc_not_ready)) << page;
    entry(page).valid = false;
  }
  EXPECT_EQ(keys.paging_key(), paging);
  EXPECT_EQ(keys.cpusvn(), Bytes16{});
  EXPECT_TRUE(update().ok()) << "used, and free again";
}

// Pages that were evicted before are lost, with an update or without; no other key is.
TEST_F(SgxUpdate, RenewsThePagesKeyAlone) {
  const PlatformKeys before({1, 2, 3}, 1);
  std::set<Bytes16> seen{keys.paging_key()};
  for (int i = 0; i < 3; ++i) {
    update();
    EXPECT_TRUE(seen.insert(keys.paging_key()).second);
  }
  EXPECT_EQ(keys.derive({}), before.derive({}));
  EXPECT_EQ(keys.ownerepoch(), before.ownerepoch());
  EXPECT_EQ(keys.seal_fuses(), before.seal_fuses());
  EXPECT_EQ(keys.report_keyid(), before.report_keyid());
}

// SDM vol. 3D, EGETKEY: the key of a lower CPUSVN can still be had, so that data sealed before is not lost.
TEST_F(SgxUpdate, OlderKeysStay) {
  const auto old_key = sealing_key({});
  ASSERT_TRUE(old_key);
  EXPECT_EQ(sealing_key(PlatformKeys::microcode), std::nullopt);
  ASSERT_TRUE(update().ok());
  EXPECT_EQ(sealing_key({}), old_key);
  const auto new_key = sealing_key(PlatformKeys::microcode);
  ASSERT_TRUE(new_key);
  EXPECT_NE(new_key, old_key);
}

}  // namespace
}  // namespace cloister::silicon
