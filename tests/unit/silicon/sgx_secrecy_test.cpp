// Nothing outside an enclave depends on what is inside. Two machines differ in the contents of their EPC only; whatever
// instructions software runs on both, it sees the same: registers, memory, exits, and how many instructions it took.
// Reads of EPC from outside give all ones (abort page; SDM vol. 3D, 35.3), an asynchronous exit leaves synthetic state
// (ch. 37), and an evicted page is ciphertext (38.3, EWB). CLOISTER_FULL runs more programs, CLOISTER_SEED repeats one
// sequence.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <random>
#include <unordered_set>

#include "silicon/engine/vcpu_impl.hpp"
#include "silicon/sgx/entry/entry.hpp"
#include "silicon/sgx/epc/page_info.hpp"
#include "silicon/sgx/keys/platform_keys.hpp"
#include "silicon/silicon.hpp"
#include "unit/silicon/sgx_machine.hpp"
#include "unit/silicon/sgx_programs.hpp"

namespace cloister::silicon {
namespace {

using arch::PageType;
namespace flag = arch::secinfo_flags;

// ------------------------------------------------------------------------------------------------ machines

/// What software, devices and the hypervisor see of a run.
struct Outside {
  Exit exit;
  GeneralRegs general;
  SystemRegs system;
  FxsaveImage fpu;
  std::vector<u8> ram;
  u64 instructions = 0;
};

std::string difference(const Outside& a, const Outside& b) {
  std::string text;
  const auto compare = [&](const std::string& what, bool same) {
    if (!same) text += fmt::format("{} differ; ", what);
  };
  compare("exit reasons", a.exit.reason == b.exit.reason);
  compare("qualifications", a.exit.qualification == b.exit.qualification);
  compare("exits' addresses", a.exit.linear == b.exit.linear && a.exit.physical == b.exit.physical);
  compare("lengths", a.exit.instruction_length == b.exit.instruction_length);
  compare("events", a.exit.interruption == b.exit.interruption && a.exit.vectoring == b.exit.vectoring);
  for (unsigned i = 0; i < 16; ++i) {
    compare(fmt::format("R{} ({:#x}, {:#x})", i, a.general.gpr[i], b.general.gpr[i]),
            a.general.gpr[i] == b.general.gpr[i]);
  }
  compare("RIPs", a.general.rip == b.general.rip);
  compare("flags", a.general.rflags == b.general.rflags);
  const SystemRegs &s = a.system, &t = b.system;
  compare("segments", s.seg == t.seg && s.ldtr == t.ldtr && s.tr == t.tr);
  compare("descriptor tables", s.gdtr == t.gdtr && s.idtr == t.idtr);
  compare("control registers", s.cr0 == t.cr0 && s.cr2 == t.cr2 && s.cr3 == t.cr3 && s.cr4 == t.cr4 && s.cr8 == t.cr8 &&
                                   s.xcr0 == t.xcr0 && s.efer == t.efer && s.cpl == t.cpl);
  compare("debug registers", s.dr == t.dr && s.dr6 == t.dr6 && s.dr7 == t.dr7);
  compare("FPU images", a.fpu == b.fpu);
  compare("RAM contents", a.ram == b.ram);
  compare("instruction counts", a.instructions == b.instructions);
  return text;
}

class Machine {
 public:
  Machine(u64 secret, u64 attributes)
      : package_({.epc = {{first, place::pages}}, .root_secret = {5}, .boot = 1}),
        vcpu_(package_, memory_, {.clock = ClockMode::deterministic}),
        attributes_(attributes) {
    EXPECT_TRUE(memory_.map_ram(arch::Gpa{0}, place::ram_bytes));
    EXPECT_TRUE(memory_.map_epc(arch::Gpa{place::epc}, first, place::pages));
    std::mt19937_64 random(secret);
    for (auto& page : secrets_) {
      for (u8& b : page) b = static_cast<u8>(random());
    }
    std::mt19937_64 common(77);
    image_.resize(place::ram_bytes);
    for (u64 i = place::buffer; i < place::ram_bytes; ++i) image_[i] = static_cast<u8>(common());
    write_tables();
  }

  Outside run(const Program& p, u64 budget) {
    reset_epc(p);
    EXPECT_TRUE(memory_.write(arch::Gpa{0}, std::as_bytes(std::span(image_))));
    EXPECT_TRUE(memory_.write(arch::Gpa{place::code}, std::as_bytes(std::span(p.code))));
    vcpu_.set_controls(p.controls);
    vcpu_.set_system(p.system);
    vcpu_.set_general(p.general);
    vcpu_.set_fpu(p.fpu);
    const u64 before = vcpu_.instructions();
    Outside o;
    o.exit = vcpu_.run(budget);
    o.instructions = vcpu_.instructions() - before;
    o.general = vcpu_.general();
    o.system = vcpu_.system();
    o.fpu = vcpu_.fpu();
    o.ram.resize(place::ram_bytes);
    EXPECT_TRUE(memory_.read(arch::Gpa{0}, std::as_writable_bytes(std::span(o.ram))));
    return o;
  }

  GuestMemory& memory() { return memory_; }
  /// Enclave pages that nothing in the enclave writes to are as they were.
  bool data_intact() {
    for (u32 i = place::data; i < place::va; ++i) {
      const EpcmEntry& e = package_.impl().epcm(i);
      if (!e.valid || e.type != PageType::reg || e.pending) continue;
      if (std::memcmp(package_.impl().page(i), secrets_[i].data(), arch::page_size) != 0) return false;
    }
    return true;
  }
  /// The SSA frame has taken secrets from the registers.
  bool frame_holds_secret() {
    const arch::Gprsgx& g = gprsgx_of(package_.impl(), place::ssa);
    for (u32 i = place::data; i < place::blocked; ++i) {
      const auto& page = secrets_[i];
      const u8* const wanted = reinterpret_cast<const u8*>(&g.rdx);
      if (std::search(page.begin(), page.end(), wanted, wanted + sizeof g.rdx) != page.end()) return true;
    }
    return false;
  }

 private:
  static constexpr arch::Mfn first{0x8000};

  template <class T>
  void put(u64 at, const T& value) {
    std::memcpy(image_.data() + at, &value, sizeof value);
  }
  void write_tables() {
    namespace pte = arch::pte;
    constexpr u64 open = pte::p | pte::rw | pte::us;
    put(place::pml4, place::pdpt | open);
    put(place::pdpt, place::low_pd | open);
    put(place::pdpt + 8, place::epc_pd | open);
    put(place::pdpt + 16, place::at(place::data) | open);  // a directory in the EPC
    put(place::low_pd, open | pte::ps);
    put(place::epc_pd, place::epc_pt | open);
    put(place::epc_pd + 8, place::alias_pt | open);
    put(place::epc_pd + 16, place::at(place::data) | open);  // a table in the EPC
    for (u32 i = 0; i < place::pages; ++i) {
      put(place::epc_pt + 8 * i, place::at(i) | open);
      put(place::alias_pt + 8 * i, place::at(place::pages - 1 - i) | open);
    }
    put(place::gdt + 8, u64{0x00af'9b00'0000'ffff});
    put(place::gdt + 16, u64{0x00cf'9300'0000'ffff});
    put(place::gdt + 24, u64{0x0000'8b00'9000'0067});
    for (u64 v = 0; v < 256; ++v) {
      put(place::idt + 16 * v, u64{0x0000'8e00'0008'0000} | place::handler);
      put(place::idt + 16 * v + 8, u64{0});
    }
    put(place::tss + 4, place::stack);
    put(place::handler, u8{0xf4});
  }

  void reset_epc(const Program& p) {
    for (u32 i = 0; i < place::pages; ++i) {
      EpcmEntry& e = package_.impl().epcm(i);
      page_store(package_.impl().state(i));
      std::ranges::copy(secrets_[i], package_.impl().page(i));
      e.valid = false;
    }
    auto& secs = *reinterpret_cast<SecsPage*>(package_.impl().page(place::secs));
    secs = {};
    secs.architectural.base = place::epc;
    secs.architectural.size = 0x20'0000;
    secs.architectural.ssa_frame_size = 1;
    secs.architectural.attributes = {arch::attributes::init | arch::attributes::mode64bit | attributes_, 3};
    secs.live().eid = 1;
    EpcmEntry& owner = claim(place::secs, PageType::secs, 0);
    owner.enclave_address = 0;
    owner.epoch = 1;
    auto& tcs = *reinterpret_cast<arch::Tcs*>(package_.impl().page(place::tcs));
    tcs = {};
    tcs.ossa = place::ssa * arch::page_size;
    tcs.nssa = 1;
    tcs.oentry = place::text * arch::page_size;
    tcs.state = p.active ? 1 : 0;
    if (p.interrupted) fill_frame(tcs);
    claim(place::tcs, PageType::tcs, 0);
    claim(place::ssa, PageType::reg, flag::r | flag::w);
    std::ranges::copy(p.enclave_code, package_.impl().page(place::text));
    claim(place::text, PageType::reg, flag::r | flag::x);
    for (u32 i = place::data; i < place::va; ++i) claim(i, PageType::reg, flag::r | flag::w);
    package_.impl().epcm(place::blocked).blocked = true;
    claim(place::va, PageType::va, 0).enclave_address = 0;
    owner.children = place::va - place::tcs;
    owner.threads_now = p.active ? 1 : 0;
    owner.threads_before = 0;
  }
  /// A frame that ERESUME takes: secrets, but for what must have a form, and for where the code goes on.
  void fill_frame(arch::Tcs& tcs) {
    tcs.cssa = 1;
    tcs.nssa = 2;
    u8* const area = package_.impl().page(place::ssa);
    std::memset(area + 512, 0, 64);
    area[512] = 3;
    constexpr u32 mxcsr = 0x1f80;
    std::memcpy(area + 24, &mxcsr, sizeof mxcsr);
    arch::Gprsgx& g = gprsgx_of(package_.impl(), place::ssa);
    g.rflags = arch::rflags::fixed1;
    g.rip = place::at(place::text);
    g.fsbase = g.gsbase = 0;
    g.ursp = g.urbp = place::stack;  // of the code outside
    g.aexnotify = 0;
  }
  EpcmEntry& claim(u32 page, PageType type, u64 rights) {
    EpcmEntry& e = package_.impl().epcm(page);
    claim_page(e, SgxMachine::flags_of(type, rights), place::at(page));
    e.secs = place::secs;
    return e;
  }

  Package package_;
  GuestMemory memory_;
  Vcpu vcpu_;
  u64 attributes_;
  std::array<EpcBytes, place::pages> secrets_;
  std::vector<u8> image_;
};

// ------------------------------------------------------------------------------------------------ tests

constexpr u64 budget = 300;

u64 first_seed() {
  const char* const given = std::getenv("CLOISTER_SEED");
  return given != nullptr ? std::strtoull(given, nullptr, 0) : 1;
}

TEST(SgxSecrecy, NoProgramTellsTheContentsOfTheEpc) {
  const u64 programs = std::getenv("CLOISTER_FULL") != nullptr ? 100'000 : 4000;
  Machine one(1111, 0), other(2222, 0);
  u64 entered = 0, went_on = 0;
  for (u64 seed = first_seed(); seed < first_seed() + programs; ++seed) {
    const Program p = Author(seed).write();
    const Outside a = one.run(p, budget), b = other.run(p, budget);
    ASSERT_EQ(difference(a, b), "") << "CLOISTER_SEED=" << seed << ", exit " << name_of(a.exit.reason);
    ASSERT_TRUE(one.data_intact()) << "CLOISTER_SEED=" << seed << ": software outside has written to an enclave";
    entered += one.frame_holds_secret() ? 1 : 0;
    went_on += a.instructions > 6 ? 1 : 0;
  }
  // The programs do get somewhere: into the enclave, where secrets come into the registers, and past their first fault.
  EXPECT_GT(entered, programs / 50);
  EXPECT_GT(went_on, programs / 8);
}

TEST(SgxSecrecy, TheComparisonSeesWhatEdbgrdTells) {
  // Contents of a debug enclave are no secret: the same comparison notices them.
  Machine one(1111, arch::attributes::debug), other(2222, arch::attributes::debug);
  Program p = Author(1).write();
  p.general.gpr[arch::rax] = static_cast<u64>(arch::EnclsLeaf::edbgrd);
  p.general.gpr[arch::rcx] = place::at(place::data);
  p.code = {0x0f, 0x01, 0xcf, 0xf4};
  p.system.seg.fill({0x10, 0, 0xffff'ffff, 0xc093});
  p.system.seg[arch::seg_cs] = {0x08, 0, 0xffff'ffff, 0xa09b};
  p.system.cr3 = place::pml4;
  const std::string seen = difference(one.run(p, budget), other.run(p, budget));
  EXPECT_TRUE(seen.starts_with("R3 ") && seen.find("; ") == seen.size() - 2) << "RBX and nothing else: " << seen;
}

TEST(SgxSecrecy, DevicesDoNotReachTheEpc) {
  Machine m(1, 0);
  (void)m.run(Author(1).write(), 1);
  std::array<std::byte, 64> bytes{};
  for (u32 page = 0; page < place::pages; ++page) {
    EXPECT_FALSE(m.memory().read(arch::Gpa{place::at(page)}, bytes));
    EXPECT_FALSE(m.memory().write(arch::Gpa{place::at(page)}, bytes));
  }
  EXPECT_EQ(bytes, (std::array<std::byte, 64>{}));
  EXPECT_TRUE(m.data_intact());
}

TEST(SgxSecrecy, ReadsFromOutsideGiveAllOnes) {
  Machine m(1, 0);
  Program p = Author(2).write();
  p.system.cr3 = place::pml4;
  p.controls.exception_bitmap = ~0u;
  for (u32 page = 0; page < place::pages; ++page) {
    for (const u64 window : {place::epc, place::alias}) {
      p.general.gpr[arch::rbx] = window + page * arch::page_size + 24;
      p.code = {0x48, 0x8b, 0x03, 0x0f, 0x10, 0x03, 0x0f, 0x0b};  // MOV RAX, [RBX]; MOVUPS XMM0, [RBX]; UD2
      const Outside o = m.run(p, budget);
      ASSERT_EQ(o.exit.reason, ExitReason::exception_or_nmi);
      ASSERT_EQ(o.exit.interruption.vector, arch::vector::ud);
      EXPECT_EQ(o.general.gpr[arch::rax], ~u64{0});
      EXPECT_EQ(std::count(o.fpu.begin() + 160, o.fpu.begin() + 176, 0xff), 16);
    }
  }
}

TEST(SgxSecrecy, EvictedPagesAreCiphertext) {
  // Sixteen-byte pieces of the pages, wherever in RAM or registers they might turn up.
  SgxMachine m;
  ASSERT_EQ(m.ecreate_page(0, SgxMachine::plain_secs()), 0);
  ASSERT_EQ(m.run(epa, static_cast<u64>(PageType::va), SgxMachine::page(1)), 0);
  std::unordered_set<u64> words;
  std::mt19937_64 random(3);
  constexpr u32 first = 2, pages = 12;
  for (u32 i = first; i < first + pages; ++i) {
    EpcBytes content;
    for (std::size_t at = 0; at < content.size(); at += 8) {
      const u64 word = random();
      words.insert(word);
      std::memcpy(content.data() + at, &word, sizeof word);
    }
    ASSERT_EQ(m.eadd_page(i, 0, SgxMachine::page(i), SgxMachine::flags_of(PageType::reg, flag::r | flag::w), content),
              0);
  }
  m.put(SgxMachine::source, EpcBytes{});
  const auto visible = [&] {
    std::vector<u8> ram(SgxMachine::ram_bytes);
    EXPECT_TRUE(m.memory().read(arch::Gpa{SgxMachine::ram}, std::as_writable_bytes(std::span(ram))));
    u64 found = 0;
    for (std::size_t at = 0; at + 8 <= ram.size(); ++at) {
      u64 word;
      std::memcpy(&word, ram.data() + at, sizeof word);
      found += words.contains(word) ? 1 : 0;
    }
    for (const u64 r : m.cpu().gpr) found += words.contains(r) ? 1 : 0;
    return found;
  };
  ASSERT_EQ(visible(), 0u);
  constexpr u64 images = SgxMachine::ram + 0x10000;
  for (u32 i = 0; i < pages; ++i) {
    ASSERT_EQ(m.run(eblock, 0, SgxMachine::page(first + i)), 0);
    ASSERT_EQ(m.run(etrack, 0, SgxMachine::page(0)), 0);
    m.put(SgxMachine::pageinfo, arch::Pageinfo{0, images + i * arch::page_size, SgxMachine::token, 0});
    ASSERT_EQ(m.run(ewb, SgxMachine::pageinfo, SgxMachine::page(first + i), SgxMachine::page(1) + 8 * i), 0);
    EXPECT_EQ(visible(), 0u) << "after EWB of page " << i;
    // A load that is refused leaves nothing behind either.
    m.put(SgxMachine::pageinfo,
          arch::Pageinfo{SgxMachine::page(0), images + i * arch::page_size, SgxMachine::token, SgxMachine::page(0)});
    EXPECT_EQ(m.run(eldu, SgxMachine::pageinfo, SgxMachine::page(first + i), SgxMachine::page(1) + 8 * i),
              static_cast<i64>(arch::SgxError::mac_compare_fail));
    EXPECT_EQ(visible(), 0u);
  }
}

}  // namespace
}  // namespace cloister::silicon
