// Leaves that build, page, change and remove enclaves, in random sequences: many are refused, and what each found goes
// into a hash that is printed now and then. No expectation is here; two machines are to print the same (SDM vol. 3D,
// 38.3 says what is refused, and the tables of the other payloads hold that against it).
//
// More pages are in use than a small EPC has. Before EWB there is always ETRACK: what a cycle of the hypervisor's own
// would change is not in it (docs/configuration.md, epc_min).
#include "sgx/machine.hpp"

namespace {

using namespace sgx;

constexpr unsigned first_place = 64, last_place = 700;  // those before are enclave 0's, which runs
constexpr unsigned enclaves = 6, pages_of_one = 256, images = 48, slots = 64;
constexpr unsigned seeds = 4, rounds = 12, ops_of_one = 250;

struct alignas(page_bytes) Image {
  u8 page[page_bytes];
  alignas(128) arch::Pcmd pcmd;
  u64 linaddr;
  unsigned secs, array, slot;
};
Image stored[images];
alignas(page_bytes) u8 source[page_bytes];
alignas(64) arch::Secinfo secinfo;
alignas(32) arch::Pageinfo pageinfo;
alignas(32) arch::Rdinfo rdinfo;

u64 seed, digest;

unsigned chance(unsigned below) {
  seed = seed * 6364136223846793005ul + 1442695040888963407ul;
  return static_cast<unsigned>((seed >> 33) % below);
}
void see(u64 value) { digest = (digest ^ value) * 0x100000001b3ul + 1; }

/// A place of the kind that the leaf wants more often than not: what it is for is decided by its number.
bool is_secs(unsigned place) { return place < first_place + enclaves; }
bool is_array(unsigned place) { return place >= last_place - 4; }
unsigned secs() { return chance(8) == 0 ? 0 : first_place + chance(enclaves); }
unsigned array() { return chance(20) == 0 ? first_place + chance(enclaves) : last_place - 1 - chance(4); }
unsigned any() { return first_place + chance(last_place - first_place); }
unsigned child() {
  if (chance(16) == 0) return chance(2) == 0 ? secs() : array();
  return chance(12) == 0 ? place_of(0, chance(24))
                         : first_place + enclaves + chance(last_place - first_place - enclaves - 4);
}
u64 base_of(unsigned secs_place) { return secs_place == 0 ? enclave_base : u64{secs_place} << 32; }

/// A leaf and what came of it; true: it did what it does.
bool leaf(arch::EnclsLeaf number, u64 rbx, u64 rcx, u64 rdx = 0) {
  Done done{};
  const Trap trap = attempt([&] { done = encls(number, rbx, rcx, rdx); });
  see(static_cast<u64>(number));
  see(trap.vector);
  if (trap.vector != vec::none) {
    see(trap.error);
    if (trap.vector == vec::pf) see(trap.cr2);
    return false;
  }
  see(done.rax);
  see(done.zf | done.cf << 1);
  return !done.zf;
}

void create(unsigned place) {
  memset(source, 0, page_bytes);
  auto& wanted = *reinterpret_cast<arch::Secs*>(source);
  wanted.size = pages_of_one * page_bytes;
  wanted.base = base_of(place);
  wanted.ssa_frame_size = 1;
  wanted.attributes = {arch::attributes::mode64bit | arch::attributes::debug, 3};
  secinfo = {};
  pageinfo = {.linaddr = 0, .srcpge = address(source), .secinfo = address(&secinfo), .secs = 0};
  leaf(arch::EnclsLeaf::ecreate, address(&pageinfo), epc_at(place));
}

void add(unsigned place, unsigned owner) {
  memset(source, static_cast<int>(chance(256)), page_bytes);
  secinfo = {.flags = type_reg | (chance(4) == 0 ? rights::r : rights::r | rights::w), .reserved = {}};
  pageinfo = {.linaddr = base_of(owner) + chance(pages_of_one) * page_bytes,
              .srcpge = address(source),
              .secinfo = address(&secinfo),
              .secs = epc_at(owner)};
  leaf(arch::EnclsLeaf::eadd, address(&pageinfo), epc_at(place));
}

void augment(unsigned place) {
  pageinfo = {.linaddr = in_enclave(dynamic_page + chance(8)), .srcpge = 0, .secinfo = 0, .secs = epc_at(0)};
  leaf(arch::EnclsLeaf::eaug, address(&pageinfo), epc_at(place));
}

void page_out(unsigned place) {
  Image& image = stored[chance(images)];
  leaf(arch::EnclsLeaf::eblock, 0, epc_at(place));
  const unsigned owner = secs();
  for (unsigned i = 0; i <= enclaves; i++)
    leaf(arch::EnclsLeaf::etrack, 0, epc_at(i == enclaves ? 0 : first_place + i));
  pageinfo = {.linaddr = 0, .srcpge = address(image.page), .secinfo = address(&image.pcmd), .secs = 0};
  const unsigned to = array(), slot = chance(slots);
  if (!leaf(arch::EnclsLeaf::ewb, address(&pageinfo), epc_at(place), epc_at(to) + slot * 8)) return;
  image.linaddr = pageinfo.linaddr;
  image.array = to;
  image.slot = slot;
  see(image.linaddr);
  see(image.pcmd.secinfo.flags);
  see(image.pcmd.enclaveid);
  // Whose it was says its address.
  image.secs = image.linaddr == 0 ? 0 : image.linaddr < base_of(1) ? 0 : static_cast<unsigned>(image.linaddr >> 32);
  if (chance(10) == 0) image.secs = owner;
}

void page_in(unsigned place) {
  const Image& image = stored[chance(images)];
  const bool owned = image.linaddr != 0;
  pageinfo = {.linaddr = image.linaddr,
              .srcpge = address(image.page),
              .secinfo = address(&image.pcmd),
              .secs = owned ? epc_at(image.secs) : 0};
  leaf(chance(2) == 0 ? arch::EnclsLeaf::eldu : arch::EnclsLeaf::eldb, address(&pageinfo), epc_at(place),
       epc_at(image.array != 0 ? image.array : array()) + image.slot * 8);
}

void look_at(unsigned place) {
  rdinfo = {};
  if (!leaf(arch::EnclsLeaf::erdinfo, address(&rdinfo), epc_at(place))) return;
  see(rdinfo.status);
  see(rdinfo.flags);
  see(rdinfo.enclavecontext);
}

void debug(unsigned place) {
  const u64 at = epc_at(place) + chance(512) * 8;
  u64 value = 0;
  const bool writes = chance(2) == 0;
  const Trap trap = attempt([&] {
    if (writes) encls(arch::EnclsLeaf::edbgwr, seed, at);
    value = encls(arch::EnclsLeaf::edbgrd, 0, at).rbx;
  });
  see(trap.vector);
  // A SECS has its EID, which others have to know nothing of.
  if (trap.vector == vec::none && !is_secs(place) && !is_array(place)) see(value);
}

void change(unsigned place) {
  secinfo = {.flags = chance(2) == 0 ? type_trim : type_reg | rights::r, .reserved = {}};
  leaf((secinfo.flags & type_trim) == type_trim ? arch::EnclsLeaf::emodt : arch::EnclsLeaf::emodpr, address(&secinfo),
       epc_at(place));
}

void anything() {
  switch (chance(20)) {
    case 0: return create(first_place + chance(enclaves));
    case 1:
      return void(
          leaf(arch::EnclsLeaf::epa, static_cast<u64>(arch::PageType::va), epc_at(chance(8) == 0 ? any() : array())));
    case 2:
    case 3:
    case 4:
    case 5:
    case 6:
    case 7: return add(child(), secs());
    case 8: return void(leaf(arch::EnclsLeaf::eextend, epc_at(secs()), epc_at(child()) + chance(16) * 256));
    case 9: return void(leaf(arch::EnclsLeaf::eblock, 0, epc_at(any())));
    case 10: return void(leaf(arch::EnclsLeaf::etrack, 0, epc_at(secs())));
    case 11:
    case 12: return page_out(chance(10) == 0 ? any() : child());
    case 13:
    case 14: return page_in(chance(6) == 0 ? secs() : child());
    case 15: return void(leaf(arch::EnclsLeaf::eremove, 0, epc_at(chance(12) == 0 ? any() : child())));
    case 16: return look_at(any());
    case 17: return debug(child());
    case 18: return augment(chance(3) == 0 ? child() : place_of(0, dynamic_page + chance(8)));
    default: return change(place_of(0, chance(24)));
  }
}

/// Children first, then what had some.
void remove_all() {
  for (unsigned pass = 0; pass < 2; pass++) {
    for (unsigned place = 0; place < last_place; place++) leaf(arch::EnclsLeaf::eremove, 0, epc_at(place));
  }
}

}  // namespace

CASE(random) {
  for (unsigned i = 1; i <= seeds; i++) {
    baseline();
    remove_all();
    fresh();
    memset(stored, 0, sizeof stored);
    seed = i;
    digest = 0;
    launch();
    for (unsigned k = 0; k < enclaves; k++) create(first_place + k);
    for (unsigned k = 0; k < 4; k++) epa(last_place - 1 - k);
    for (unsigned place = first_place + enclaves; place < last_place - 4; place++)
      if (chance(2) == 0) add(place, first_place + chance(enclaves));
    for (unsigned round = 0; round < rounds; round++) {
      for (unsigned k = 0; k < ops_of_one; k++) anything();
      line("sequence");
      expect("digest", digest, digest);
    }
    for (unsigned place = 0; place < last_place; place++) {
      look_at(place);
      debug(place);
    }
    line("end");
    expect("digest", digest, digest);
  }
}
