// Random sequences of SGX leaves, most of them with operands that fit the present state, some wild; the EPCM's
// invariants (sgx_invariants.hpp) hold after each on one thread, and whenever four threads meet. CLOISTER_FULL makes
// them longer and more; CLOISTER_SEED repeats one.
#include <gtest/gtest.h>

#include <barrier>
#include <numeric>
#include <random>
#include <thread>

#include "silicon/engine/vcpu_impl.hpp"
#include "silicon/sgx/entry/entry.hpp"
#include "silicon/sgx/guest_operands.hpp"
#include "silicon/sgx/leaves/leaf_table.hpp"
#include "silicon/sgx/leaves/measurement.hpp"
#include "silicon/silicon.hpp"
#include "unit/silicon/sgx_invariants.hpp"
#include "unit/silicon/sgx_signer.hpp"

namespace cloister::silicon {
namespace {

using arch::PageType;
namespace flag = arch::secinfo_flags;

class World;

/// An image that EWB made: it can be loaded once.
struct Image {
  bool used = false, loaded = false;
  u32 page = 0;  ///< where it was
  u64 linear = 0, slot = 0, eid = 0;
};

/// A logical processor, with RAM of its own for operands and images.
class Actor {
 public:
  static constexpr u64 ram_bytes = 0x40000;
  Actor(World& world, u64 number, u64 seed, bool epc_virtualization);

  Cpu& cpu() { return vcpu_->impl().cpu(); }
  void step();
  const std::map<std::string, u64>& successes() const { return successes_; }

 private:
  struct Act {
    const char* name;
    u64 weight;
    void (Actor::*act)();
  };
  static const Act outside_acts[], inside_acts[];
  void choose(std::span<const Act> acts);

  // ---- chance
  u64 bits() { return random_(); }
  u64 below(u64 n) { return bits() % n; }
  bool one_in(u64 n) { return below(n) == 0; }

  // ---- operands
  u64 at_ram(u64 offset) const { return ram_ + offset; }
  u64 pageinfo() const { return at_ram(0); }
  u64 secinfo() const { return at_ram(0x40); }
  u64 rdinfo() const { return at_ram(0x100); }
  u64 context() const { return at_ram(0x180); }
  u64 token() const { return at_ram(0x200); }
  u64 source() const { return at_ram(0x1000); }
  u64 sigstruct() const { return at_ram(0x2000); }
  u64 image_at(u64 i) const { return at_ram(0x4000 + i * 0x1000); }
  u64 pcmd_at(u64 i) const { return at_ram(0x3000 + i * sizeof(arch::Pcmd)); }
  u64 wild_address();
  template <class T>
  void put(u64 address, const T& value);
  template <class Fits>
  u32 pick(Fits fits);
  template <class Fits>
  u64 count(Fits fits);
  u64 free_pages();
  u32 free_page();
  u32 secs_page(bool initialised);
  u32 child_page();
  u32 own_page(u64 rights);
  u32 thread_page();

  /// Calls the leaf with these operands, one of which is sometimes wild. True if it succeeded.
  bool call(const char* name, Leaf leaf, u64 rbx, u64 rcx, u64 rdx = 0);
  arch::Sigstruct signature_for(u32 secs_index);
  static arch::Tcs random_tcs(u64 ossa);

  // ---- acts
  void create();
  void add_page(u32 to, u32 owner, u64 linear, bool tcs);
  void add();
  void extend();
  void init();
  void build();
  void tear_down();
  void remove();
  void root_remove();
  void debug_read();
  void debug_write();
  void make_va();
  void block();
  void track();
  void track_child();
  void evict();
  void load();
  void augment();
  void restrict();
  void retype();
  void read_info();
  void virtual_child();
  void set_context();
  void enter();
  void resume();
  void accept();
  void extend_rights();
  void accept_copy();
  void report();
  void get_key();
  void decrement_cssa();
  void touch_memory();
  void exit();
  void interrupt();

  World& world_;
  std::mt19937_64 random_;
  u64 number_, ram_;
  std::unique_ptr<Vcpu> vcpu_;
  std::array<Image, 24> images_;
  arch::SgxError error_ = arch::SgxError::success;  ///< of the last leaf
  std::map<std::string, u64> successes_;
};

/// The package and the memory that the processors share. Linear addresses are guest-physical ones, and ELRANGE lies
/// over the EPC, so that page i of the EPC is at its own place in any enclave.
class World {
 public:
  static constexpr u32 pages = 40;
  static constexpr u64 ram = 0x100000, epc = 0x4000'0000, elrange_bytes = 0x20'0000;
  static constexpr arch::Mfn first{0x8000};

  World(unsigned processors, u64 seed) : package_({.epc = {{first, pages}}, .root_secret = {9}, .boot = 1}) {
    EXPECT_TRUE(memory_.map_ram(arch::Gpa{ram}, processors * Actor::ram_bytes));
    EXPECT_TRUE(memory_.map_epc(arch::Gpa{epc}, first, pages));
    // One of the processors runs under a hypervisor that oversubscribes the EPC.
    for (u64 i = 0; i < processors; ++i) actors.push_back(std::make_unique<Actor>(*this, i, seed * 64 + i, i == 1));
    std::vector<const Cpu*> all;
    for (auto& actor : actors) all.push_back(&actor->cpu());
    invariants = std::make_unique<SgxInvariants>(package(), all);
  }

  static constexpr u64 at(u32 index) { return epc + index * arch::page_size; }
  Package& door() { return package_; }
  Package::Impl& package() { return package_.impl(); }
  GuestMemory& memory() { return memory_; }
  SecsPage& secs(u32 index) { return *reinterpret_cast<SecsPage*>(package().page(index)); }

  /// Signing takes a while: signatures are kept by measurement.
  arch::Sigstruct signature(const arch::Bytes32& mrenclave) {
    const std::scoped_lock lock(signing_);
    auto& s = signatures_[mrenclave];
    if (s.exponent == 0) {
      s = SgxSigner::unsigned_for(mrenclave);
      SgxSigner::instance().sign(s);
    }
    return s;
  }

  std::string account() const {
    std::map<std::string, u64> all;
    for (const auto& actor : actors) {
      for (const auto& [name, count] : actor->successes()) all[name] += count;
    }
    std::string text;
    for (const auto& [name, count] : all) text += fmt::format("{} {}, ", name, count);
    return text;
  }

 private:
  Package package_;
  GuestMemory memory_;
  std::mutex signing_;
  std::map<arch::Bytes32, arch::Sigstruct> signatures_;

 public:
  std::vector<std::unique_ptr<Actor>> actors;
  std::unique_ptr<SgxInvariants> invariants;
};

Actor::Actor(World& world, u64 number, u64 seed, bool epc_virtualization)
    : world_(world),
      random_(seed),
      number_(number),
      ram_(World::ram + number * ram_bytes),
      vcpu_(std::make_unique<Vcpu>(world.door(), world.memory(), Vcpu::Config{.clock = ClockMode::deterministic})) {
  Controls controls;
  controls.epc_virtualization = epc_virtualization;
  vcpu_->set_controls(controls);
  Cpu& c = cpu();
  c.cr0 = arch::cr0::pe;
  c.cr4 = arch::cr4::osfxsr;
  c.efer |= arch::efer::lme | arch::efer::lma;
  c.seg[arch::seg_cs].attributes |= attr::l;
  c.seg_base = {};
  c.cpl = 0;
  c.code64 = true;
}

// ------------------------------------------------------------------------------------------------ operands

u64 Actor::wild_address() {
  switch (below(5)) {
    case 0: return World::at(static_cast<u32>(below(World::pages)));
    case 1: return World::at(static_cast<u32>(below(World::pages))) + 8 * below(512);
    case 2: return ram_ + 32 * below(ram_bytes / 32);
    case 3: return bits();
    default: return 0;
  }
}

template <class T>
void Actor::put(u64 address, const T& value) {
  EXPECT_TRUE(world_.memory().write(arch::Gpa{address}, std::as_bytes(std::span(&value, 1))));
}

/// A page whose entry fits, or any.
template <class Fits>
u32 Actor::pick(Fits fits) {
  std::vector<u32> found;
  {
    const MutexLock lock(world_.package().mutex());
    for (u32 i = 0; i < World::pages; ++i) {
      if (fits(world_.package().epcm(i), i)) found.push_back(i);
    }
  }
  return static_cast<u32>(found.empty() ? below(World::pages) : found[below(found.size())]);
}

template <class Fits>
u64 Actor::count(Fits fits) {
  const MutexLock lock(world_.package().mutex());
  u64 n = 0;
  for (u32 i = 0; i < World::pages; ++i) n += fits(world_.package().epcm(i)) ? 1 : 0;
  return n;
}
u64 Actor::free_pages() {
  return count([](const EpcmEntry& e) { return !e.valid; });
}
u32 Actor::free_page() {
  return pick([](const EpcmEntry& e, u32) { return !e.valid; });
}
u32 Actor::secs_page(bool initialised) {
  return pick([&](const EpcmEntry& e, u32 i) {
    return e.valid && e.type == PageType::secs && world_.secs(i).initialised() == initialised;
  });
}
u32 Actor::child_page() {
  return pick([](const EpcmEntry& e, u32) { return e.valid && has_owner(e.type); });
}
/// A settled page of the enclave that this processor is in.
u32 Actor::own_page(u64 rights) {
  return pick([&](const EpcmEntry& e, u32 i) {
    return e.valid && e.type == PageType::reg && e.secs == cpu().enclave.secs && e.enclave_address == World::at(i) &&
           !e.blocked && !e.pending && !e.modified && (rights_of(e) & rights) == rights;
  });
}

/// A TCS that may well be entered: its enclave runs, and its frames are there.
u32 Actor::thread_page() {
  if (one_in(8)) return pick([](const EpcmEntry& e, u32) { return e.valid && e.type == PageType::tcs; });
  return pick([&](const EpcmEntry& e, u32 i) {
    if (!e.valid || e.type != PageType::tcs || e.blocked || e.modified || i + 2 >= World::pages) return false;
    const EpcmEntry& frame = world_.package().epcm(i + 1);
    return world_.secs(e.secs).initialised() && frame.valid && frame.type == PageType::reg && frame.secs == e.secs &&
           frame.write && !frame.blocked && !frame.pending && !frame.modified;
  });
}

bool Actor::call(const char* name, Leaf leaf, u64 rbx, u64 rcx, u64 rdx) {
  u64* const operands[] = {&rbx, &rcx, &rdx};
  if (one_in(24)) *operands[below(3)] = wild_address();
  Cpu& c = cpu();
  c.gpr[arch::rbx] = rbx;
  c.gpr[arch::rcx] = rcx;
  c.gpr[arch::rdx] = rdx;
  error_ = arch::SgxError::success;
  GuestOperands guest(c);
  LeafContext ctx(guest, world_.package(), &c);
  const LeafResult result = leaf(ctx);
  if (!result) {
    if (c.enclave.active) {
      const Fault& fault = result.error().fault;
      const Event event{.vector = fault.vector, .type = EventType::exception, .has_error = true, .error = fault.error};
      asynchronous_exit(c, world_.package(), result.error().is_exit ? nullptr : &event, fault.address);
      c.cpl = 0;
    }
    return false;
  }
  const Code* const code = std::get_if<Code>(&*result);
  error_ = code != nullptr ? code->error : arch::SgxError::success;
  if (code != nullptr && (code->error != arch::SgxError::success || code->zf || code->cf)) return false;
  ++successes_[name];
  return true;
}

// ------------------------------------------------------------------------------------------------ building

void Actor::create() {
  // More enclaves than these would leave no room for their pages.
  const u64 enclaves = count([](const EpcmEntry& e) { return e.valid && e.type == PageType::secs; });
  if (enclaves >= 4 && !one_in(8)) return;
  arch::Secs s{};
  s.base = World::epc;
  s.size = World::elrange_bytes;
  s.ssa_frame_size = 1;
  s.attributes = {arch::attributes::mode64bit | (one_in(2) ? arch::attributes::debug : 0), 3};
  put(pageinfo(), arch::Pageinfo{0, source(), secinfo(), 0});
  put(secinfo(), arch::Secinfo{});
  put(source(), s);
  call("ECREATE", ecreate, pageinfo(), World::at(free_page()));
}

arch::Tcs Actor::random_tcs(u64 ossa) {
  arch::Tcs t{};
  t.ossa = ossa;
  t.nssa = 2;
  t.fslimit = t.gslimit = 0xfff;
  return t;
}

void Actor::add_page(u32 to, u32 owner, u64 linear, bool tcs) {
  const u64 rights = tcs ? 0 : flag::r | (one_in(4) ? below(8) : flag::w);
  put(secinfo(), arch::Secinfo{rights | (u64{static_cast<u8>(tcs ? PageType::tcs : PageType::reg)} << 8), {}});
  put(pageinfo(), arch::Pageinfo{linear, source(), secinfo(), World::at(owner)});
  std::array<u8, arch::page_size> page;
  page.fill(static_cast<u8>(bits()));
  put(source(), page);
  // The two pages after a TCS are its frames, if the EPC has them.
  if (tcs) put(source(), random_tcs(linear + arch::page_size - World::epc));
  call("EADD", eadd, pageinfo(), World::at(to));
}

void Actor::add() {
  const u32 to = free_page();
  const u64 linear = World::at(one_in(8) ? static_cast<u32>(below(World::pages)) : to);
  add_page(to, secs_page(false), linear, one_in(5));
}

void Actor::extend() {
  const u32 page = child_page();
  u32 owner;
  {
    const MutexLock lock(world_.package().mutex());
    owner = world_.package().epcm(page).secs;
  }
  call("EEXTEND", eextend, World::at(owner), World::at(page) + 256 * below(16));
}

arch::Sigstruct Actor::signature_for(u32 secs_index) {
  // Stands for the signer, who knows what is being built; a build that goes on meanwhile makes it the wrong one.
  arch::Bytes32 mrenclave{};
  EpcmEntry& entry = world_.package().epcm(secs_index);
  const Held page(entry.lock, LockMode::shared);
  const Held building(entry.build_lock, LockMode::exclusive);
  const bool is_secs = [&] {
    const MutexLock lock(world_.package().mutex());
    return entry.valid && entry.type == PageType::secs;
  }();
  if (page && building && is_secs) mrenclave = measurement_of(world_.secs(secs_index)).finish();
  return world_.signature(mrenclave);
}

void Actor::init() {
  const u32 secs = secs_page(false);
  const arch::Sigstruct s = signature_for(secs);
  const arch::Bytes32 signer = mrsigner_of(s);
  std::memcpy(cpu().lepubkeyhash.data(), signer.data(), signer.size());
  put(sigstruct(), s);
  put(token(), arch::Einittoken{});
  call("EINIT", einit, sigstruct(), World::at(secs), token());
}

/// An enclave with a thread, at once, so that there are some to enter: a TCS, its two frames and data.
void Actor::build() {
  constexpr u32 wanted = 5;
  const u32 run = pick([&](const EpcmEntry&, u32 i) {
    for (u32 n = i; n < i + wanted; ++n) {
      if (n >= World::pages || world_.package().epcm(n).valid) return false;
    }
    return true;
  });
  create();
  const u32 owner = secs_page(false);
  for (u32 i = 0; i < wanted; ++i) add_page(run + i, owner, World::at(run + i), i == 0);
  if (one_in(4)) extend();
  if (!one_in(4)) init();
}

/// A whole enclave, so that there is room for the next.
void Actor::tear_down() {
  if (free_pages() > 12 && !one_in(8)) return;
  const u32 secs = secs_page(!one_in(4));
  for (u32 i = 0; i < World::pages; ++i) {
    bool child;
    {
      const MutexLock lock(world_.package().mutex());
      const EpcmEntry& e = world_.package().epcm(i);
      child = e.valid && has_owner(e.type) && e.secs == secs;
    }
    if (child) call("EREMOVE", eremove, 0, World::at(i));
  }
  call("EREMOVE", eremove, 0, World::at(secs));
}

void Actor::remove() {
  if (one_in(4)) call("EREMOVE", eremove, 0, World::at(static_cast<u32>(below(World::pages))));
}

void Actor::root_remove() {
  if (!one_in(4)) return;
  const EnclsResult r = world_.door().eremove(World::first + below(World::pages));
  if (!r.fault && r.rax == 0) ++successes_["root EREMOVE"];
}

void Actor::debug_read() { call("EDBGRD", edbgrd, 0, World::at(child_page()) + 8 * below(9)); }
void Actor::debug_write() { call("EDBGWR", edbgwr, bits(), World::at(own_page(0)) + 8 * (64 + below(448))); }

// ------------------------------------------------------------------------------------------------ paging

void Actor::make_va() {
  const u64 arrays = count([](const EpcmEntry& e) { return e.valid && e.type == PageType::va; });
  if (arrays < 4 || one_in(8)) call("EPA", epa, static_cast<u64>(PageType::va), World::at(free_page()));
}
void Actor::block() { call("EBLOCK", eblock, 0, World::at(child_page())); }
void Actor::track() { call("ETRACK", etrack, 0, World::at(secs_page(true))); }
void Actor::track_child() { call("ETRACKC", etrackc, 0, World::at(child_page())); }

void Actor::evict() {
  const u64 i = below(images_.size());
  const u32 page = pick([](const EpcmEntry& e, u32) { return e.valid && (e.blocked || !has_owner(e.type)); });
  const u32 va = pick([&](const EpcmEntry& e, u32 n) { return e.valid && e.type == PageType::va && n != page; });
  // Each processor has slots of its own; an occupied one is overwritten now and then.
  const u64 slot = World::at(va) + 8 * (number_ * images_.size() + i);
  Image image{.used = true, .page = page, .slot = slot};
  {
    const MutexLock lock(world_.package().mutex());
    const EpcmEntry& e = world_.package().epcm(page);
    image.linear = e.enclave_address;
    if (has_owner(e.type)) image.eid = world_.secs(e.secs).live().eid;
  }
  if (images_[i].used && !images_[i].loaded && !one_in(8)) return;
  put(pageinfo(), arch::Pageinfo{0, image_at(i), pcmd_at(i), 0});
  // In an occupied slot, a version is overwritten: an image that nobody can load any more.
  if (call("EWB", ewb, pageinfo(), World::at(page), slot) || error_ == arch::SgxError::va_slot_occupied) {
    images_[i] = image;
  }
}

void Actor::load() {
  const u64 i = below(images_.size());
  Image& image = images_[i];
  const u32 home = image.page;
  const u32 to = one_in(4) ? free_page() : pick([&](const EpcmEntry& e, u32 n) { return !e.valid && n == home; });
  const u32 owner = pick([&](const EpcmEntry& e, u32 n) {
    return e.valid && e.type == PageType::secs && world_.secs(n).live().eid == image.eid;
  });
  put(pageinfo(), arch::Pageinfo{image.linear, image_at(i), pcmd_at(i), image.eid != 0 ? World::at(owner) : 0});
  static constexpr struct {
    const char* name;
    Leaf leaf;
  } leaves[] = {{"ELDB", eldb}, {"ELDU", eldu}, {"ELDBC", eldbc}, {"ELDUC", elduc}};
  const auto& leaf = leaves[below(4)];
  if (!call(leaf.name, leaf.leaf, pageinfo(), World::at(to), image.slot)) return;
  EXPECT_TRUE(image.used && !image.loaded) << "an image was loaded twice";
  image.loaded = true;
}

// ------------------------------------------------------------------------------------------------ SGX2, OSS, ENCLV

void Actor::augment() {
  if (free_pages() < 10 && !one_in(8)) return;
  const u32 to = free_page();
  put(pageinfo(), arch::Pageinfo{World::at(to), 0, 0, World::at(secs_page(true))});
  call("EAUG", eaug, pageinfo(), World::at(to));
}
void Actor::restrict() {
  put(secinfo(), arch::Secinfo{flag::r | below(8), {}});
  call("EMODPR", emodpr, secinfo(), World::at(child_page()));
}
void Actor::retype() {
  const PageType type = one_in(3) ? PageType::tcs : PageType::trim;
  put(secinfo(), arch::Secinfo{u64{static_cast<u8>(type)} << 8, {}});
  call("EMODT", emodt, secinfo(), World::at(child_page()));
}
void Actor::read_info() { call("ERDINFO", erdinfo, rdinfo(), World::at(static_cast<u32>(below(World::pages)))); }
void Actor::virtual_child() {
  const u32 page = child_page();
  u32 owner;
  {
    const MutexLock lock(world_.package().mutex());
    owner = world_.package().epcm(page).secs;
  }
  if (one_in(2)) {
    call("EINCVIRTCHILD", eincvirtchild, World::at(page), World::at(owner));
  } else {
    call("EDECVIRTCHILD", edecvirtchild, World::at(page), World::at(owner));
  }
}
void Actor::set_context() {
  put(context(), bits());
  call("ESETCONTEXT", esetcontext, 0, World::at(secs_page(one_in(2))), context());
}

// ------------------------------------------------------------------------------------------------ entry

void Actor::enter() {
  cpu().cpl = 3;
  if (!call("EENTER", eenter, World::at(thread_page()), ram_)) cpu().cpl = 0;
}
void Actor::resume() {
  cpu().cpl = 3;
  if (!call("ERESUME", eresume, World::at(thread_page()), ram_)) cpu().cpl = 0;
}

void Actor::accept() {
  const u32 page = pick([&](const EpcmEntry& e, u32) {
    return e.valid && has_owner(e.type) && e.secs == cpu().enclave.secs &&
           (e.pending || e.modified || e.permission_restricted);
  });
  u64 flags;
  {
    const MutexLock lock(world_.package().mutex());
    flags = secinfo_flags_of(world_.package().epcm(page));
  }
  const u64 at = World::at(own_page(flag::r | flag::w)) + 0x40;
  GuestOperands operands(cpu());
  LeafContext ctx(operands, world_.package(), &cpu());
  const arch::Secinfo info{flags, {}};
  if (ctx.write(at, &info, sizeof info)) call("EACCEPT", eaccept, at, World::at(page));
}
void Actor::extend_rights() {
  const u64 at = World::at(own_page(flag::r | flag::w)) + 0x80;
  GuestOperands operands(cpu());
  LeafContext ctx(operands, world_.package(), &cpu());
  const arch::Secinfo info{below(8) | (u64{static_cast<u8>(PageType::reg)} << 8), {}};
  if (ctx.write(at, &info, sizeof info)) call("EMODPE", emodpe, at, World::at(own_page(0)));
}
void Actor::accept_copy() {
  const u64 at = World::at(own_page(flag::r | flag::w)) + 0xc0;
  GuestOperands operands(cpu());
  LeafContext ctx(operands, world_.package(), &cpu());
  const arch::Secinfo info{flag::r | below(8) | (u64{static_cast<u8>(PageType::reg)} << 8), {}};
  const u32 to = pick([&](const EpcmEntry& e, u32) { return e.valid && e.secs == cpu().enclave.secs && e.pending; });
  if (ctx.write(at, &info, sizeof info)) {
    call("EACCEPTCOPY", eacceptcopy, at, World::at(to), World::at(own_page(flag::r)));
  }
}
void Actor::report() {
  const u64 page = World::at(own_page(flag::r | flag::w));
  GuestOperands operands(cpu());
  LeafContext ctx(operands, world_.package(), &cpu());
  const arch::Targetinfo target{};
  if (ctx.write(page, &target, sizeof target)) call("EREPORT", ereport, page, page + 0x200, page + 0x400);
}
void Actor::get_key() {
  const u64 page = World::at(own_page(flag::r | flag::w));
  GuestOperands operands(cpu());
  LeafContext ctx(operands, world_.package(), &cpu());
  arch::Keyrequest request{};
  request.keyname = static_cast<u16>(below(5));
  if (ctx.write(page, &request, sizeof request)) call("EGETKEY", egetkey, page, page + 0x200);
}
void Actor::decrement_cssa() { call("EDECCSSA", edeccssa, 0, 0); }

/// What the enclave's code does: the translation stays in the TLB.
void Actor::touch_memory() {
  const u64 at = World::at(own_page(flag::r | flag::w));
  const auto page = cpu().mmu->translate_and_fill(at, one_in(2) ? Access::read : Access::write);
  if (page) ++successes_["access"];
}

void Actor::exit() {
  if (call("EEXIT", eexit, ram_, 0)) cpu().cpl = 0;
}
void Actor::interrupt() {
  asynchronous_exit(cpu(), world_.package(), nullptr, 0);
  cpu().cpl = 0;
  ++successes_["AEX"];
}

// ------------------------------------------------------------------------------------------------ choice

const Actor::Act Actor::outside_acts[] = {
    {"build", 5, &Actor::build},
    {"ECREATE", 1, &Actor::create},
    {"EADD", 3, &Actor::add},
    {"EEXTEND", 4, &Actor::extend},
    {"EINIT", 1, &Actor::init},
    {"tear down", 2, &Actor::tear_down},
    {"EREMOVE", 1, &Actor::remove},
    {"root EREMOVE", 1, &Actor::root_remove},
    {"EDBGRD", 3, &Actor::debug_read},
    {"EDBGWR", 1, &Actor::debug_write},
    {"EPA", 2, &Actor::make_va},
    {"EBLOCK", 5, &Actor::block},
    {"ETRACK", 8, &Actor::track},
    {"ETRACKC", 3, &Actor::track_child},
    {"EWB", 14, &Actor::evict},
    {"ELD", 16, &Actor::load},
    {"EAUG", 6, &Actor::augment},
    {"EMODPR", 3, &Actor::restrict},
    {"EMODT", 1, &Actor::retype},
    {"ERDINFO", 2, &Actor::read_info},
    {"virtual child", 2, &Actor::virtual_child},
    {"ESETCONTEXT", 1, &Actor::set_context},
    {"EENTER", 20, &Actor::enter},
    {"ERESUME", 14, &Actor::resume},
};

const Actor::Act Actor::inside_acts[] = {
    {"EACCEPT", 10, &Actor::accept},     {"EMODPE", 3, &Actor::extend_rights}, {"EACCEPTCOPY", 6, &Actor::accept_copy},
    {"EREPORT", 1, &Actor::report},      {"EGETKEY", 1, &Actor::get_key},      {"EDECCSSA", 2, &Actor::decrement_cssa},
    {"access", 4, &Actor::touch_memory}, {"EEXIT", 6, &Actor::exit},           {"AEX", 4, &Actor::interrupt},
};

void Actor::choose(std::span<const Act> acts) {
  u64 total = 0;
  for (const Act& a : acts) total += a.weight;
  u64 ticket = below(total);
  for (const Act& a : acts) {
    if (ticket < a.weight) return (this->*a.act)();
    ticket -= a.weight;
  }
}

void Actor::step() {
  if (cpu().enclave.active) {
    choose(inside_acts);
  } else {
    choose(outside_acts);
  }
}

// ------------------------------------------------------------------------------------------------ tests

bool full() { return std::getenv("CLOISTER_FULL") != nullptr; }

/// The seeds of one test. More work is more tests, not longer ones; those with `full` are skipped without
/// CLOISTER_FULL.
struct Seeds {
  const char* name;
  u64 first, count;
  bool full = false;

  /// CLOISTER_SEED instead, in every test.
  std::vector<u64> list() const {
    if (const char* const given = std::getenv("CLOISTER_SEED")) return {std::strtoull(given, nullptr, 0)};
    std::vector<u64> all(count);
    std::iota(all.begin(), all.end(), first);
    return all;
  }
};
void PrintTo(const Seeds& seeds, std::ostream* out) { *out << seeds.name; }
std::string name_of_seeds(const testing::TestParamInfo<Seeds>& info) { return info.param.name; }

constexpr Seeds full_seeds[] = {
    {"1000to1004", 1000, 5, true},
    {"1005to1009", 1005, 5, true},
    {"1010to1014", 1010, 5, true},
    {"1015to1019", 1015, 5, true},
};

constexpr const char* all_leaves[] = {
    "ECREATE",       "EADD",          "EEXTEND",     "EINIT",    "EREMOVE", "root EREMOVE", "EDBGRD",
    "EDBGWR",        "EPA",           "EBLOCK",      "ETRACK",   "ETRACKC", "EWB",          "ELDB",
    "ELDU",          "ELDBC",         "ELDUC",       "EAUG",     "EMODPR",  "EMODT",        "ERDINFO",
    "EINCVIRTCHILD", "EDECVIRTCHILD", "ESETCONTEXT", "EENTER",   "ERESUME", "EACCEPT",      "EMODPE",
    "EACCEPTCOPY",   "EREPORT",       "EGETKEY",     "EDECCSSA", "access",  "EEXIT",        "AEX"};

void stays_whole_on_one_thread(u64 seed) {
  const u64 steps = full() ? 200'000 : 20'000;
  World world(3, seed);
  std::mt19937_64 turns(seed);
  for (u64 i = 0; i < steps; ++i) {
    world.actors[turns() % world.actors.size()]->step();
    const std::string broken = world.invariants->broken(SgxInvariants::Seen::every_step);
    ASSERT_EQ(broken, "") << "after step " << i << " of CLOISTER_SEED=" << seed;
  }
  std::map<std::string, u64> done;
  for (const auto& actor : world.actors) {
    for (const auto& [name, count] : actor->successes()) done[name] += count;
  }
  for (const char* const leaf : all_leaves) EXPECT_GT(done[leaf], 0u) << leaf << " never succeeds: " << world.account();
  testing::Test::RecordProperty("leaves", world.account());
}

void stays_whole_on_four_threads(u64 seed) {
  constexpr unsigned threads = 4;
  const u64 rounds = full() ? 2000 : 150, steps = 60;
  World world(threads, seed);
  std::string broken;
  u64 round = 0;
  bool stop = false;
  std::barrier meeting(threads, [&]() noexcept {
    if (!stop) broken = world.invariants->broken(SgxInvariants::Seen::meetings);
    stop = !broken.empty() || ++round == rounds;
  });
  const auto run = [&](Actor& actor) {
    while (!stop) {
      for (u64 i = 0; i < steps; ++i) actor.step();
      meeting.arrive_and_wait();
    }
  };
  std::vector<std::thread> running;
  for (auto& actor : world.actors) running.emplace_back(run, std::ref(*actor));
  for (std::thread& t : running) t.join();
  EXPECT_EQ(broken, "") << "in round " << round << " of CLOISTER_SEED=" << seed;
  testing::Test::RecordProperty("leaves", world.account());
}

class SgxProperties : public testing::TestWithParam<Seeds> {
 protected:
  void for_each_seed(void (*property)(u64 seed)) {
    if (GetParam().full && !full()) GTEST_SKIP() << "runs with CLOISTER_FULL=1 (scripts/test --full)";
    for (const u64 seed : GetParam().list()) {
      property(seed);
      if (HasFailure()) return;
    }
  }
};

INSTANTIATE_TEST_SUITE_P(Usual, SgxProperties, testing::Values(Seeds{"1to2", 1, 2}), name_of_seeds);
INSTANTIATE_TEST_SUITE_P(Full, SgxProperties, testing::ValuesIn(full_seeds), name_of_seeds);

TEST_P(SgxProperties, EpcmStaysWholeOnOneThread) { for_each_seed(stays_whole_on_one_thread); }
TEST_P(SgxProperties, EpcmStaysWholeOnFourThreads) { for_each_seed(stays_whole_on_four_threads); }

}  // namespace
}  // namespace cloister::silicon
