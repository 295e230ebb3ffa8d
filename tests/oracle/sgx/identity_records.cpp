// Random enclaves, reports and keys: what software gave to the SGX leaves and what they answered, one JSON object a
// line. identity.py recomputes the answers from the manual.
//
// Usage: sgx_identity_records SEED ENCLAVES
#include <fmt/format.h>

#include <charconv>
#include <random>

#include "silicon/sgx/keys/cmac.hpp"
#include "silicon/sgx/leaves/measurement.hpp"
#include "unit/silicon/sgx_machine.hpp"
#include "unit/silicon/sgx_signer.hpp"

namespace cloister::silicon {
namespace {

using arch::PageType;
namespace a = arch::attributes;
namespace flag = arch::secinfo_flags;

template <class T>
std::string hex(const T& value) {
  std::string text;
  for (const u8 b : std::span(reinterpret_cast<const u8*>(&value), sizeof value)) text += fmt::format("{:02x}", b);
  return text;
}

class Random {
 public:
  explicit Random(u64 seed) : engine_(seed) {}
  u64 bits() { return engine_(); }
  u64 below(u64 n) { return bits() % n; }
  bool one_in(u64 n) { return below(n) == 0; }
  /// One of the bits, each with an even chance.
  u64 some_of(u64 mask) { return bits() & mask; }
  template <class T>
  T bytes() {
    T t;
    for (u8& b : std::span(reinterpret_cast<u8*>(&t), sizeof t)) b = static_cast<u8>(bits());
    return t;
  }

 private:
  std::mt19937_64 engine_;
};

class Recorder {
 public:
  explicit Recorder(u64 seed) : random_(seed), root_(random_.bytes<RootSecret>()), boot_(random_.bits()) {
    fmt::print(R"({{"step":"platform","root":"{}","boot":{}}})"
               "\n",
               hex(root_), boot_);
  }

  /// Builds an enclave on a machine of its own, launches it, and asks it for reports and keys.
  void enclave() {
    SgxMachine m(SgxMachine::plain_config(root_, boot_));
    create(m);
    add_pages(m);
    if (!launch(m)) return;
    m.enter(secs);
    for (unsigned i = 0; i < reports; ++i) report(m);
    for (unsigned i = 0; i < keys; ++i) key(m);
  }

 private:
  // Page 1 holds the operands of EREPORT and EGETKEY. Paging is off: its linear address is its own.
  static constexpr u32 secs = 0, operands = 1, other_pages = 4;
  static constexpr u64 at = SgxMachine::page(operands), target_at = at, data_at = at + 0x200, report_at = at + 0x400,
                       request_at = at + 0x600, key_at = at + 0x800;
  static constexpr unsigned reports = 4, keys = 12;

  void create(SgxMachine& m) {
    const bool mode64 = !random_.one_in(4);
    arch::Secs s{};
    s.size = u64{1} << (13 + random_.below(mode64 ? 23 : 18));
    s.base = SgxMachine::epc & ~(s.size - 1);
    s.ssa_frame_size = static_cast<u32>(1 + random_.below(5));
    s.miscselect = static_cast<u32>(random_.some_of(arch::miscselect::exinfo));
    s.attributes.flags = random_.some_of(a::debug | a::aexnotify);
    for (const u64 often : {a::provisionkey, a::einittokenkey, a::kss})
      s.attributes.flags |= random_.one_in(3) ? 0 : often;
    s.attributes.flags |= mode64 ? a::mode64bit : 0;
    s.attributes.xfrm = 3;
    if ((s.attributes.flags & a::kss) != 0) {
      s.configid = random_.bytes<arch::Bytes64>();
      s.configsvn = static_cast<u16>(4 + random_.below(8));
    }
    // What ECREATE and EINIT overwrite.
    s.mrenclave = random_.bytes<arch::Bytes32>();
    s.mrsigner = random_.bytes<arch::Bytes32>();
    s.isvprodid = static_cast<u16>(random_.bits());
    expect(m.ecreate_page(secs, s) == 0, "ECREATE");
    fmt::print(R"({{"step":"ecreate","secs":"{}"}})"
               "\n",
               hex(s));
    created_ = s;
  }

  void add_pages(SgxMachine& m) {
    add_page(m, operands, at, SgxMachine::flags_of(PageType::reg, flag::r | flag::w), EpcBytes{});
    const u64 elrange_pages = created_.size / arch::page_size;
    for (u32 index = operands + 1; index <= operands + other_pages; ++index) {
      const u64 linear = created_.base + random_.below(elrange_pages) * arch::page_size;
      if (random_.one_in(3)) {
        add_page(m, index, linear, SgxMachine::flags_of(PageType::tcs, random_.some_of(flag::rwx)), random_tcs());
      } else {
        // A page that can be written can be read; the states are the signer's to choose, and measured.
        const u64 flags = flag::r | random_.some_of(flag::rwx | flag::pending | flag::modified | flag::pr);
        add_page(m, index, linear, SgxMachine::flags_of(PageType::reg, flags), random_.bytes<EpcBytes>());
      }
      for (u64 chunks = random_.below(8); chunks > 0; --chunks) {
        const u32 page = static_cast<u32>(operands + random_.below(index - operands + 1));
        extend(m, page, random_.below(16) * 256);
      }
    }
  }

  arch::Tcs random_tcs() {
    arch::Tcs t = random_.bytes<arch::Tcs>();
    t.reserved = {};
    t.fslimit |= 0xfff;
    t.gslimit |= 0xfff;
    return t;
  }

  template <class Page>
  void add_page(SgxMachine& m, u32 index, u64 linear, u64 flags, const Page& page) {
    expect(m.eadd_page(index, secs, linear, flags, page) == 0, "EADD");
    fmt::print(R"({{"step":"eadd","index":{},"linaddr":{},"secinfo":"{}","page":"{}"}})"
               "\n",
               index, linear, hex(arch::Secinfo{flags, {}}), hex(page));
  }

  void extend(SgxMachine& m, u32 index, u64 offset) {
    expect(m.run(eextend, SgxMachine::page(secs), SgxMachine::page(index) + offset) == 0, "EEXTEND");
    fmt::print(R"({{"step":"eextend","index":{},"offset":{}}})"
               "\n",
               index, offset);
  }

  arch::Sigstruct signature(SgxMachine& m) {
    arch::Sigstruct s = SgxSigner::unsigned_for(measurement_of(m.secs(secs)).finish());
    const bool kss = (created_.attributes.flags & a::kss) != 0;
    if (kss) s.isvfamilyid = random_.bytes<arch::Bytes16>();
    s.isvextprodid = random_.bytes<arch::Bytes16>();
    s.isvprodid = static_cast<u16>(random_.bits());
    s.isvsvn = static_cast<u16>(4 + random_.below(8));
    s.swdefined = static_cast<u32>(random_.bits());
    s.miscmask = static_cast<u32>(random_.bits());
    s.miscselect = created_.miscselect;
    s.attributemask = {random_.bits(), random_.bits()};
    s.attributes = created_.attributes;
    if (random_.one_in(8)) s.enclavehash[random_.below(32)] ^= 1;
    SgxSigner::instance().sign(s);
    if (random_.one_in(8)) s.signature[random_.below(383)] ^= 1;
    return s;
  }

  /// A token as a launch enclave makes it, sometimes with a bit wrong.
  arch::Einittoken token(SgxMachine& m, const arch::Sigstruct& s, const arch::Bytes32& launch_signer) {
    arch::Einittoken t{};
    t.valid = 1;
    t.attributes = created_.attributes;
    t.mrenclave = s.enclavehash;
    t.mrsigner = mrsigner_of(s);
    t.cpusvnle[0] = static_cast<u8>(random_.below(2));
    t.isvprodidle = static_cast<u16>(random_.bits());
    t.isvsvnle = static_cast<u16>(random_.bits());
    t.maskedmiscselectle = static_cast<u32>(random_.bits());
    t.maskedattributesle = {random_.bits() & ~a::debug, random_.bits()};
    t.keyid = random_.bytes<arch::Bytes32>();
    const PlatformKeys& keys_of = m.package().keys();
    KeyDependencies d;
    d.keyname = static_cast<u16>(arch::KeyName::einittoken);
    d.isvprodid = t.isvprodidle;
    d.isvsvn = t.isvsvnle;
    d.miscselect = t.maskedmiscselectle;
    d.cpusvn = t.cpusvnle;
    d.ownerepoch = keys_of.ownerepoch();
    d.seal_fuses = keys_of.seal_fuses();
    d.attributes = t.maskedattributesle;
    d.mrsigner = launch_signer;
    d.keyid = t.keyid;
    d.padding = signature_padding();
    t.mac = aes_cmac(keys_of.derive(d), std::span(reinterpret_cast<const u8*>(&t), arch::einittoken_maced_bytes));
    if (random_.one_in(3))
      reinterpret_cast<u8*>(&t)[192 + random_.below(112)] ^= static_cast<u8>(1 << random_.below(8));
    return t;
  }

  bool launch(SgxMachine& m) {
    const arch::Sigstruct s = signature(m);
    arch::Bytes32 launch_signer = mrsigner_of(s);
    arch::Einittoken t{};
    if (random_.one_in(3)) {
      launch_signer = random_.bytes<arch::Bytes32>();
      t = token(m, s, launch_signer);
    }
    std::memcpy(m.cpu().lepubkeyhash.data(), launch_signer.data(), launch_signer.size());
    const i64 rax = m.einit_secs(secs, s, t);
    fmt::print(R"({{"step":"einit","sigstruct":"{}","token":"{}","lepubkeyhash":"{}","rax":{},"secs":"{}"}})"
               "\n",
               hex(s), hex(t), hex(launch_signer), rax, hex(m.secs(secs).architectural).substr(0, 2 * 262));
    return rax == 0;
  }

  u8* in_enclave(SgxMachine& m, u64 linear) { return m.package().page(operands) + (linear - at); }

  void report(SgxMachine& m) {
    arch::Targetinfo target{};
    target.measurement = random_.bytes<arch::Bytes32>();
    target.attributes = {random_.bits(), random_.bits()};
    target.cet_attributes = static_cast<u8>(random_.bits());
    target.configsvn = static_cast<u16>(random_.bits());
    target.miscselect = static_cast<u32>(random_.bits());
    target.configid = random_.bytes<arch::Bytes64>();
    const auto data = random_.bytes<arch::Bytes64>();
    std::memcpy(in_enclave(m, target_at), &target, sizeof target);
    std::memcpy(in_enclave(m, data_at), &data, sizeof data);
    expect(m.run(ereport, target_at, data_at, report_at) == 0, "EREPORT");
    arch::Report r;
    std::memcpy(&r, in_enclave(m, report_at), sizeof r);
    fmt::print(R"({{"step":"ereport","targetinfo":"{}","reportdata":"{}","report":"{}"}})"
               "\n",
               hex(target), hex(data), hex(r));
  }

  void key(SgxMachine& m) {
    const bool kss = (created_.attributes.flags & a::kss) != 0;
    arch::Keyrequest r{};
    r.keyname = static_cast<u16>(random_.below(random_.one_in(8) ? 7 : 5));
    r.keypolicy = static_cast<u16>(random_.some_of(arch::keypolicy::defined));
    if (!kss && !random_.one_in(4)) r.keypolicy &= static_cast<u16>(~arch::keypolicy::needs_kss);
    r.isvsvn = static_cast<u16>(random_.below(8));
    r.cet_attributes_mask = static_cast<u8>(random_.bits());
    r.cpusvn[0] = static_cast<u8>(random_.below(2));
    if (random_.one_in(8)) r.cpusvn[random_.below(16)] = static_cast<u8>(random_.below(3));
    r.attributemask = {random_.bits(), random_.bits()};
    r.keyid = random_.bytes<arch::Bytes32>();
    r.miscmask = static_cast<u32>(random_.bits());
    if (kss) r.configsvn = static_cast<u16>(random_.below(8));
    if (random_.one_in(16)) r.reserved2[random_.below(r.reserved2.size())] = 1;
    std::memcpy(in_enclave(m, request_at), &r, sizeof r);
    std::memset(in_enclave(m, key_at), 0, sizeof(arch::Bytes16));
    const i64 rax = m.run(egetkey, request_at, key_at);
    arch::Bytes16 out;
    std::memcpy(&out, in_enclave(m, key_at), sizeof out);
    fmt::print(R"({{"step":"egetkey","keyrequest":"{}","rax":{},"key":"{}"}})"
               "\n",
               hex(r), rax, hex(out));
  }

  static void expect(bool done, const char* leaf) {
    if (done) return;
    fmt::print(stderr, "{} refuses a good operand\n", leaf);
    std::exit(1);
  }

  Random random_;
  RootSecret root_;
  u64 boot_;
  arch::Secs created_{};
};

}  // namespace
}  // namespace cloister::silicon

int main(int argc, char** argv) {
  const auto number = [](std::string_view text) {
    cloister::u64 n = 0;
    std::from_chars(text.data(), text.data() + text.size(), n);
    return n;
  };
  if (argc != 3) return 2;
  const cloister::u64 seed = number(argv[1]), enclaves = number(argv[2]);
  for (cloister::u64 i = 0; i < enclaves; ++i) cloister::silicon::Recorder(seed + i).enclave();
}
