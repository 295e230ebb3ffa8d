// Eviction and reload of EPC pages (SDM vol. 3D, 36.5; 38.3: EPA, EBLOCK, ETRACK, EWB, ELDB, ELDU).
#include "sgx_bench.hpp"
#include "silicon/sgx/keys/paging_crypto.hpp"

namespace cloister::silicon {
namespace {

using arch::PageType;
using arch::SgxError;

// ------------------------------------------------------------------------------------------------ cryptography

std::vector<u8> hex(std::string_view text) {
  std::vector<u8> out;
  for (std::size_t i = 0; i + 1 < text.size(); i += 2) {
    out.push_back(static_cast<u8>(std::stoi(std::string(text.substr(i, 2)), nullptr, 16)));
  }
  return out;
}
template <std::size_t n>
std::array<u8, n> hex_array(std::string_view text) {
  std::array<u8, n> out{};
  std::ranges::copy(hex(text), out.begin());
  return out;
}

struct GcmVector {
  const char *key, *iv, *aad, *plain, *sealed, *tag;
};
/// AES-128 with 96-bit initialisation vectors: test cases 1 to 4 of the GCM submission to NIST (McGrew and Viega,
/// "The Galois/Counter Mode of Operation", appendix B).
constexpr GcmVector vectors[] = {
    {"00000000000000000000000000000000", "000000000000000000000000", "", "", "", "58e2fccefa7e3061367f1d57a4e7455a"},
    {"00000000000000000000000000000000", "000000000000000000000000", "", "00000000000000000000000000000000",
     "0388dace60b6a392f328c2b971b2fe78", "ab6e47d42cec13bdf53a67b21257bddf"},
    {"feffe9928665731c6d6a8f9467308308", "cafebabefacedbaddecaf888", "",
     "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657"
     "ba637b391aafd255",
     "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac97"
     "3d58e091473f5985",
     "4d5c2af327cd64a62cf35abd2ba6fab4"},
    {"feffe9928665731c6d6a8f9467308308", "cafebabefacedbaddecaf888", "feedfacedeadbeeffeedfacedeadbeefabaddad2",
     "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657"
     "ba637b39",
     "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac97"
     "3d58e091",
     "5bc94fbc3221a5db94fae95ae7121a47"},
};

TEST(PagingCrypto, KnownAnswers) {
  for (int round = 0; round < 2; ++round) {  // the contexts are used again
    for (const GcmVector& v : vectors) {
      const auto key = hex_array<16>(v.key);
      const auto iv = hex_array<12>(v.iv);
      const auto aad = hex(v.aad), plain = hex(v.plain), sealed = hex(v.sealed);
      std::vector<u8> out(plain.size());
      EXPECT_EQ(gcm_seal(key, iv, aad, plain, out.data()), hex_array<16>(v.tag));
      EXPECT_EQ(out, sealed);
      EXPECT_TRUE(gcm_open(key, iv, aad, sealed, hex_array<16>(v.tag), out.data()));
      EXPECT_EQ(out, plain);
      auto wrong = hex_array<16>(v.tag);
      wrong[15] ^= 1;
      EXPECT_FALSE(gcm_open(key, iv, aad, sealed, wrong, out.data()));
    }
  }
}

TEST(PagingCrypto, AnImageThatIsRefusedLeavesNothing) {
  const arch::Bytes16 key{1};
  std::array<u8, arch::page_size> page{}, sealed{}, out{};
  page.fill(0x5a);
  PagingHeader header{.eid = 3, .linaddr = 0x1000};
  const arch::Bytes16 mac = seal_page(key, 9, header, page, sealed);
  EXPECT_NE(page, sealed);
  EXPECT_TRUE(open_page(key, 9, header, sealed, mac, out));
  EXPECT_EQ(out, page);
  EXPECT_FALSE(open_page(key, 10, header, sealed, mac, out));
  EXPECT_EQ(out, (std::array<u8, arch::page_size>{}));
  EXPECT_FALSE(open_page(arch::Bytes16{2}, 9, header, sealed, mac, out));
  header.eid = 4;
  EXPECT_FALSE(open_page(key, 9, header, sealed, mac, out));
}

// ------------------------------------------------------------------------------------------------ leaves

class SgxPaging : public SgxBench {
 protected:
  static constexpr u64 pageinfo = ram, pcmd = ram + 0x100, image = ram + 0x1000;
  static constexpr u32 owner = 0, va = 1, child = 2, target = 3;

  SgxPaging() {
    make_secs(owner);
    make_va(va);
  }
  static constexpr u64 slot(u32 n) { return at(va) + 8 * n; }
  u64 version(u32 n) {
    u64 v;
    std::memcpy(&v, bytes(va) + 8 * n, sizeof v);
    return v;
  }
  Seen evict(u32 index, u64 slot_at) {
    put(pageinfo, arch::Pageinfo{0, image, pcmd, 0});
    return call(ewb, pageinfo, at(index), slot_at);
  }
  /// With PAGEINFO as EWB has left it, but for SECS.
  Seen reload(Leaf leaf, u32 to, u64 slot_at, u64 secs_at) {
    auto info = get<arch::Pageinfo>(pageinfo);
    info.secs = secs_at;
    put(pageinfo, info);
    return call(leaf, pageinfo, at(to), slot_at);
  }
  void block_and_track(u32 index) {
    ASSERT_TRUE(call(eblock, 0, at(index)).ok());
    ASSERT_TRUE(call(etrack, 0, at(owner)).ok());
  }
};

TEST_F(SgxPaging, EpaMakesAnEmptyVersionArray) {
  std::memset(bytes(target), 0xee, arch::page_size);
  EXPECT_TRUE(call(epa, 2, at(target)).gp()) << "RBX must be PT_VA";
  EXPECT_TRUE(call(epa, 3, at(target) + 8).gp());
  EXPECT_TRUE(call(epa, 3, ram).pf(ram));
  EXPECT_FALSE(entry(target).valid);
  const Seen made = call(epa, 3, at(target));
  EXPECT_TRUE(made.ok()) << made;
  EXPECT_FALSE(made.code) << "RAX and the flags are unchanged";
  EXPECT_TRUE(entry(target).valid);
  EXPECT_EQ(entry(target).type, PageType::va);
  EXPECT_EQ(std::count(bytes(target), bytes(target) + arch::page_size, 0), static_cast<long>(arch::page_size));
  EXPECT_TRUE(call(epa, 3, at(target)).pf(at(target))) << "not free any more";
}

TEST_F(SgxPaging, EblockSaysWhatItMet) {
  EXPECT_TRUE(call(eblock, 0, at(child) + 1).gp());
  EXPECT_TRUE(call(eblock, 0, ram).pf(ram));
  EXPECT_TRUE(call(eblock, 0, at(child)).zf(SgxError::pg_invld));
  EXPECT_TRUE(call(eblock, 0, at(owner)).cf(SgxError::pg_is_secs));
  EXPECT_TRUE(call(eblock, 0, at(va)).cf(SgxError::notblockable));
  u32 index = child;
  for (const PageType type : {PageType::reg, PageType::tcs, PageType::trim, PageType::ss_first, PageType::ss_rest}) {
    make_child(index, owner, type);
    entry(owner).epoch = 5;
    EXPECT_TRUE(call(eblock, 0, at(index)).ok());
    EXPECT_TRUE(entry(index).blocked);
    EXPECT_EQ(entry(index).epoch, 5u);
    EXPECT_TRUE(call(eblock, 0, at(index)).cf(SgxError::blkstate));
    ++index;
  }
}

TEST_F(SgxPaging, TrackingWaitsForTheThreadsInside) {
  EXPECT_TRUE(call(etrack, 0, at(owner) + 8).gp());
  EXPECT_TRUE(call(etrack, 0, ram).pf(ram));
  EXPECT_TRUE(call(etrack, 0, at(va)).pf(at(va)));
  EXPECT_TRUE(call(etrack, 0, at(target)).pf(at(target)));

  make_child(child, owner);
  const u64 thread = enter_enclave(entry(owner));
  ASSERT_TRUE(call(eblock, 0, at(child)).ok());
  EXPECT_TRUE(evict(child, slot(0)).zf(SgxError::not_tracked)) << "no ETRACK since EBLOCK";
  EXPECT_TRUE(call(etrack, 0, at(owner)).ok());
  EXPECT_TRUE(evict(child, slot(0)).zf(SgxError::not_tracked)) << "the thread is still inside";
  EXPECT_TRUE(call(etrack, 0, at(owner)).zf(SgxError::prev_trk_incmpl));
  const u64 late = enter_enclave(entry(owner));
  leave_enclave(entry(owner), thread);
  EXPECT_TRUE(evict(child, slot(0)).ok()) << "a thread that entered after ETRACK has no old translation";
  EXPECT_TRUE(call(etrack, 0, at(owner)).ok());
  leave_enclave(entry(owner), late);
}

TEST_F(SgxPaging, EtrackcFindsTheSecs) {
  make_child(child, owner);
  EXPECT_TRUE(call(etrackc, 0, at(child) + 8).gp());
  EXPECT_TRUE(call(etrackc, 0, ram).pf(ram));
  EXPECT_TRUE(call(etrackc, 0, at(target)).zf(SgxError::pg_invld));
  EXPECT_TRUE(call(etrackc, 0, at(va)).cf(SgxError::track_not_required));
  const u64 before = entry(owner).epoch;
  EXPECT_TRUE(call(etrackc, 0, at(child)).ok());
  EXPECT_TRUE(call(etrackc, 0, at(owner)).ok());
  EXPECT_EQ(entry(owner).epoch, before + 2);
  entry(owner).threads_before = 1;
  EXPECT_TRUE(call(etrackc, 0, at(child)).zf(SgxError::prev_trk_incmpl));
}

TEST_F(SgxPaging, ChildPagesComeBack) {
  for (const PageType type : {PageType::reg, PageType::tcs, PageType::trim}) {
    const u64 rights = type == PageType::reg ? 5 : 0;
    make_child(child, owner, type, rights, 0xa5);
    entry(child).modified = type != PageType::reg;
    block_and_track(child);
    ASSERT_TRUE(evict(child, slot(7)).ok());
    EXPECT_FALSE(entry(child).valid);
    EXPECT_EQ(entry(owner).children, 0u);
    EXPECT_NE(version(7), 0u);
    EXPECT_EQ(get<arch::Pageinfo>(pageinfo).linaddr, at(child)) << "EWB writes ENCLAVEADDRESS to LINADDR";
    const auto told = get<arch::Pcmd>(pcmd);
    EXPECT_EQ(told.secinfo.type(), type);
    EXPECT_EQ(told.secinfo.flags & 7, rights);
    EXPECT_EQ(told.enclaveid, 77u);
    EXPECT_TRUE(all_zero(told.reserved));
    const auto sealed = get<std::array<u8, arch::page_size>>(image);
    EXPECT_LT(std::ranges::count(sealed, 0xa5), 100) << "no plaintext";

    ASSERT_TRUE(reload(eldu, target, slot(7), at(owner)).ok());
    EXPECT_EQ(version(7), 0u) << "the version is consumed";
    EXPECT_TRUE(entry(target).valid);
    EXPECT_EQ(entry(target).type, type);
    EXPECT_EQ(rights_of(entry(target)), rights);
    EXPECT_EQ(entry(target).modified, type != PageType::reg);
    EXPECT_FALSE(entry(target).blocked);
    EXPECT_EQ(entry(target).enclave_address, at(child));
    EXPECT_EQ(entry(target).secs, owner);
    EXPECT_EQ(entry(owner).children, 1u);
    EXPECT_EQ(std::count(bytes(target), bytes(target) + arch::page_size, 0xa5), static_cast<long>(arch::page_size));
    entry(target).valid = false;
    entry(owner).children = 0;
  }
}

TEST_F(SgxPaging, SecsAndVersionArraysComeBack) {
  make_va(child);
  std::memset(bytes(child), 0x11, arch::page_size);
  ASSERT_TRUE(evict(child, slot(0)).ok());
  EXPECT_EQ(get<arch::Pcmd>(pcmd).enclaveid, 0u);
  EXPECT_EQ(get<arch::Pageinfo>(pageinfo).linaddr, 0u);
  EXPECT_TRUE(reload(eldb, target, slot(0), at(owner)).gp()) << "a VA page has no SECS";
  ASSERT_TRUE(reload(eldb, target, slot(0), 0).ok());
  EXPECT_EQ(entry(target).type, PageType::va);
  EXPECT_FALSE(entry(target).blocked) << "only pages with an owner are blocked";
  EXPECT_EQ(bytes(target)[100], 0x11);

  ASSERT_TRUE(evict(owner, slot(1)).ok()) << "a SECS needs neither EBLOCK nor ETRACK";
  EXPECT_EQ(get<arch::Pcmd>(pcmd).enclaveid, 77u);
  EXPECT_FALSE(entry(owner).valid);
  ASSERT_TRUE(reload(eldu, child, slot(1), 0).ok());
  EXPECT_EQ(entry(child).type, PageType::secs);
  EXPECT_EQ(secs(child).live().eid, 77u);
  EXPECT_EQ(secs(child).live().enclavecontext, at(child)) << "the SECS is somewhere else now";
  EXPECT_EQ(secs(child).architectural.size, elrange_bytes);
  EXPECT_EQ(entry(child).children, 0u);
}

TEST_F(SgxPaging, ChildrenFollowAMovedSecs) {
  make_child(child, owner, PageType::reg, 3, 0x33);
  block_and_track(child);
  ASSERT_TRUE(evict(child, slot(0)).ok());
  const auto info = get<arch::Pageinfo>(pageinfo);
  const auto child_pcmd = get<arch::Pcmd>(pcmd);
  const auto child_image = get<std::array<u8, arch::page_size>>(image);
  ASSERT_TRUE(evict(owner, slot(1)).ok());
  ASSERT_TRUE(reload(eldu, 9, slot(1), 0).ok());
  put(pageinfo, info);
  put(pcmd, child_pcmd);
  put(image, child_image);
  ASSERT_TRUE(reload(eldb, 10, slot(0), at(9)).ok());
  EXPECT_EQ(entry(10).secs, 9u);
  EXPECT_TRUE(entry(10).blocked);
  EXPECT_EQ(entry(9).children, 1u);
  EXPECT_TRUE(evict(10, slot(0)).ok()) << "it was loaded blocked: no translation can have been made";
}

TEST_F(SgxPaging, ReplayIsRefused) {
  make_child(child, owner, PageType::reg, 3, 0x44);
  block_and_track(child);
  ASSERT_TRUE(evict(child, slot(0)).ok());
  ASSERT_TRUE(reload(eldu, child, slot(0), at(owner)).ok());
  EXPECT_TRUE(reload(eldu, target, slot(0), at(owner)).zf(SgxError::mac_compare_fail)) << "its version is gone";
  const auto old_pcmd = get<arch::Pcmd>(pcmd);
  const auto old_image = get<std::array<u8, arch::page_size>>(image);
  block_and_track(child);
  ASSERT_TRUE(evict(child, slot(0)).ok());
  const auto new_pcmd = get<arch::Pcmd>(pcmd);
  const auto new_image = get<std::array<u8, arch::page_size>>(image);
  EXPECT_NE(old_image, new_image) << "another version, another ciphertext";
  put(pcmd, old_pcmd);
  put(image, old_image);
  EXPECT_TRUE(reload(eldu, target, slot(0), at(owner)).zf(SgxError::mac_compare_fail));
  EXPECT_FALSE(entry(target).valid);
  put(pcmd, new_pcmd);
  put(image, new_image);
  EXPECT_TRUE(reload(eldu, target, slot(0), at(owner)).ok());
}

TEST_F(SgxPaging, FlippedBitsAreRefused) {
  make_child(child, owner, PageType::reg, 3, 0x55);
  block_and_track(child);
  ASSERT_TRUE(evict(child, slot(0)).ok());
  // Every field that is bound: the image, PCMD's flags, reserved bytes and MAC, and LINADDR. ENCLAVEID is not.
  const std::pair<u64, bool> flips[] = {
      {image, true},     {image + 4095, true}, {pcmd, true},       {pcmd + 60, true},  {pcmd + 64, false},
      {pcmd + 72, true}, {pcmd + 111, true},   {pcmd + 112, true}, {pcmd + 127, true}, {pageinfo + 1, true}};
  for (const auto& [where, bound] : flips) {
    const u8 was = get<u8>(where);
    put(where, static_cast<u8>(was ^ 0x40));
    const u64 before = version(0);
    const Seen seen = reload(eldu, target, slot(0), at(owner));
    EXPECT_EQ(seen.zf(SgxError::mac_compare_fail), bound) << std::hex << where << " " << seen;
    if (bound) {
      EXPECT_FALSE(entry(target).valid);
      EXPECT_EQ(version(0), before);
      EXPECT_EQ(entry(owner).children, 0u);
      EXPECT_EQ(std::count(bytes(target), bytes(target) + arch::page_size, 0x55), 0) << "no plaintext is left";
    } else {
      put(where, was);
      block_and_track(target);
      ASSERT_TRUE(evict(target, slot(0)).ok());
      continue;
    }
    put(where, was);
  }
  EXPECT_TRUE(reload(eldu, target, slot(0), at(owner)).ok());
}

TEST_F(SgxPaging, AnotherEnclavesPageIsRefused) {
  make_secs(8, 78);
  make_child(child, owner);
  block_and_track(child);
  ASSERT_TRUE(evict(child, slot(0)).ok());
  EXPECT_TRUE(reload(eldu, target, slot(0), at(8)).zf(SgxError::mac_compare_fail));
  // A page that holds the right bytes where a SECS has its EID is no SECS.
  make_child(9, 8);
  std::memcpy(bytes(9), bytes(owner), arch::page_size);
  EXPECT_TRUE(reload(eldu, target, slot(0), at(9)).pf(at(9)));
  EXPECT_TRUE(reload(eldu, target, slot(0), at(owner)).ok());
}

TEST_F(SgxPaging, EwbChecksInOrder) {
  make_child(child, owner);
  const auto with = [&](arch::Pageinfo info) {
    put(pageinfo, info);
    return call(ewb, pageinfo, at(child), slot(0));
  };
  put(pageinfo, arch::Pageinfo{0, image, pcmd, 0});
  EXPECT_TRUE(call(ewb, pageinfo + 16, at(child), slot(0)).gp());
  EXPECT_TRUE(call(ewb, pageinfo, at(child) + 8, slot(0)).gp());
  EXPECT_TRUE(call(ewb, pageinfo, ram, slot(0)).pf(ram));
  EXPECT_TRUE(call(ewb, pageinfo, at(child), slot(0) + 4).gp());
  EXPECT_TRUE(call(ewb, pageinfo, at(child), ram).pf(ram));
  EXPECT_TRUE(call(ewb, pageinfo, at(child), at(child) + 8).gp()) << "the slot is in the page itself";
  EXPECT_TRUE(with({at(child), image, pcmd, 0}).gp());
  EXPECT_TRUE(with({0, image, pcmd, at(owner)}).gp());
  EXPECT_TRUE(with({0, image, pcmd + 64, 0}).gp());
  EXPECT_TRUE(with({0, image + 64, pcmd, 0}).gp());
  EXPECT_TRUE(evict(target, slot(0)).pf(at(target))) << "not valid";
  EXPECT_TRUE(evict(child, at(owner)).pf(at(owner))) << "not a version array";
  EXPECT_TRUE(evict(child, at(target)).pf(at(target)));
  EXPECT_TRUE(evict(child, slot(0)).zf(SgxError::page_not_blocked));
  ASSERT_TRUE(call(eblock, 0, at(child)).ok());
  EXPECT_TRUE(evict(child, slot(0)).zf(SgxError::not_tracked)) << "even with nobody inside";
  EXPECT_TRUE(evict(owner, slot(0)).zf(SgxError::child_present));
  EXPECT_EQ(version(0), 0u);
  EXPECT_TRUE(entry(child).valid);
}

TEST_F(SgxPaging, AnOccupiedSlotIsOverwritten) {
  make_child(child, owner);
  block_and_track(child);
  const u64 old = 12345;
  std::memcpy(bytes(va), &old, sizeof old);
  EXPECT_TRUE(evict(child, slot(0)).cf(SgxError::va_slot_occupied));
  EXPECT_NE(version(0), old);
  EXPECT_FALSE(entry(child).valid);
  EXPECT_TRUE(reload(eldu, child, slot(0), at(owner)).ok());
}

TEST_F(SgxPaging, EldChecksInOrder) {
  make_child(child, owner);
  block_and_track(child);
  ASSERT_TRUE(evict(child, slot(0)).ok());
  const auto info = get<arch::Pageinfo>(pageinfo);
  const auto with = [&](u64 srcpge, u64 pcmd_at, u64 secs_at) {
    put(pageinfo, arch::Pageinfo{info.linaddr, srcpge, pcmd_at, secs_at});
    return call(eldu, pageinfo, at(target), slot(0));
  };
  EXPECT_TRUE(call(eldu, pageinfo + 8, at(target), slot(0)).gp());
  EXPECT_TRUE(call(eldu, pageinfo, at(target) + 8, slot(0)).gp());
  EXPECT_TRUE(call(eldu, pageinfo, ram, slot(0)).pf(ram));
  EXPECT_TRUE(call(eldu, pageinfo, at(target), slot(0) + 1).gp());
  EXPECT_TRUE(call(eldu, pageinfo, at(target), ram).pf(ram));
  EXPECT_TRUE(with(image, pcmd + 64, at(owner)).gp());
  EXPECT_TRUE(with(image + 64, pcmd, at(owner)).gp());
  EXPECT_TRUE(with(image, pcmd, at(target)).gp()) << "the target as its SECS: it is in use";
  make_child(9, owner);
  put(pageinfo, info);
  EXPECT_TRUE(reload(eldu, 9, slot(0), at(owner)).pf(at(9))) << "not free";
  EXPECT_TRUE(reload(eldu, target, at(owner), at(owner)).pf(at(owner))) << "not a version array";
  EXPECT_TRUE(with(image, pcmd, at(owner) + 8).gp());
  EXPECT_TRUE(with(image, pcmd, ram).pf(ram));
  EXPECT_TRUE(with(image, pcmd, at(va)).pf(at(va)));
  EXPECT_TRUE(with(image, pcmd, at(owner)).ok());
}

TEST_F(SgxPaging, VirtualChildrenKeepASecs) {
  EXPECT_TRUE(call(edecvirtchild, at(owner), at(owner)).zf(SgxError::invalid_counter));
  make_child(child, owner);
  EXPECT_TRUE(call(eincvirtchild, at(child), at(owner)).ok());
  EXPECT_EQ(secs(owner).live().virtchildcnt, 1u);
  entry(child).valid = false;
  entry(owner).children = 0;
  set_epc_virtualization(true);
  EXPECT_TRUE(evict(owner, slot(0)).zf(SgxError::child_present));
  set_epc_virtualization(false);
  EXPECT_TRUE(evict(owner, slot(0)).ok());
  ASSERT_TRUE(reload(eldu, owner, slot(0), 0).ok());
  EXPECT_TRUE(call(edecvirtchild, at(owner), at(owner)).ok());
  EXPECT_EQ(secs(owner).live().virtchildcnt, 0u);
}

TEST_F(SgxPaging, EnclvChecks) {
  make_secs(8, 78);
  make_child(child, owner);
  for (const Leaf leaf : {edecvirtchild, eincvirtchild}) {
    EXPECT_TRUE(call(leaf, at(child) + 8, at(owner)).gp());
    EXPECT_TRUE(call(leaf, at(child), at(owner) + 8).gp());
    EXPECT_TRUE(call(leaf, ram, at(owner)).pf(ram));
    EXPECT_TRUE(call(leaf, at(child), ram).pf(ram));
    EXPECT_TRUE(call(leaf, at(target), at(owner)).pf(at(target)));
    EXPECT_TRUE(call(leaf, at(va), at(owner)).pf(at(va)));
    EXPECT_TRUE(call(leaf, at(child), at(8)).gp()) << "another enclave's";
  }
  put(ram, u64{0xabcd});
  EXPECT_TRUE(call(esetcontext, 0, at(owner) + 8, ram).gp());
  EXPECT_TRUE(call(esetcontext, 0, ram, ram).pf(ram));
  EXPECT_TRUE(call(esetcontext, 0, at(owner), ram + 4).gp());
  EXPECT_TRUE(call(esetcontext, 0, at(child), ram).pf(at(child)));
  EXPECT_TRUE(call(esetcontext, 0, at(target), ram).pf(at(target)));
  EXPECT_TRUE(call(esetcontext, 0, at(owner), ram).ok());
  EXPECT_EQ(secs(owner).live().enclavecontext, 0xabcdu);
}

TEST_F(SgxPaging, ErdinfoTellsWhatThePageIs) {
  namespace f = arch::secinfo_flags;
  EXPECT_TRUE(call(erdinfo, ram + 8, at(owner)).gp());
  EXPECT_TRUE(call(erdinfo, ram, at(owner) + 8).gp());
  EXPECT_TRUE(call(erdinfo, ram, ram).cf(SgxError::pg_nonepc));
  EXPECT_TRUE(call(erdinfo, ram, at(target)).cf(SgxError::pg_invld));
  secs(owner).live().enclavecontext = 0x1234000;
  make_child(child, owner, PageType::reg, 3);
  entry(child).pending = entry(child).blocked = entry(child).permission_restricted = true;
  ASSERT_TRUE(call(erdinfo, ram, at(child)).ok());
  auto told = get<arch::Rdinfo>(ram);
  EXPECT_EQ(told.flags, flags_of(PageType::reg, 3 | f::pending | f::pr) | arch::rdinfo::blocked);
  EXPECT_EQ(told.enclavecontext, 0x1234000u);
  EXPECT_EQ(told.status, 0u);
  ASSERT_TRUE(call(erdinfo, ram, at(owner)).ok());
  EXPECT_EQ(get<arch::Rdinfo>(ram).status, arch::rdinfo::child_present);
  entry(owner).children = 0;
  secs(owner).live().virtchildcnt = 1;
  ASSERT_TRUE(call(erdinfo, ram, at(owner)).ok());
  EXPECT_EQ(get<arch::Rdinfo>(ram).status, 0u);
  set_epc_virtualization(true);
  ASSERT_TRUE(call(erdinfo, ram, at(owner)).ok());
  EXPECT_EQ(get<arch::Rdinfo>(ram).status, arch::rdinfo::child_present);
}

}  // namespace
}  // namespace cloister::silicon
