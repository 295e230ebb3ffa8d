// A domain that stays until somebody ends it, for tests of the toolstack. It fills memory and EPC with a secret: an
// enclave over all EPC pages of its first section, built again and again (SDM vol. 3D, 38.3: EREMOVE, ECREATE, EADD).
// Prints READY when the first one is there, and sleeps between two rounds.
#include "resident.hpp"

namespace {

constexpr u64 epc_window = u64{6} << 39;
constexpr u32 ecreate = 0, eadd = 1, eremove = 3;
constexpr u64 regular_page = 0x203, xfrm = 3, mode64 = 4;

alignas(4096) u8 secret_page[4096];
alignas(4096) u64 secs_image[512];
alignas(64) u64 secinfo[8];
alignas(32) u64 page_info[4];  // LINADDR, SRCPGE, SECINFO, SECS

u64 address(const void* object) { return reinterpret_cast<u64>(object); }

u64 encls(u32 leaf, u64 rbx, u64 rcx) {
  u64 rax = leaf;
  asm volatile(".byte 0x0f, 0x01, 0xcf" : "+a"(rax), "+b"(rbx), "+c"(rcx)::"memory", "cc", "rdx");
  return rax;
}

void fill_secrets() {
  static constexpr char secret[] = "THE-SECRET-OF-A-DOMAIN-THAT-DIED";
  for (unsigned i = 0; i < sizeof secret_page; i++) secret_page[i] = static_cast<u8>(secret[i % (sizeof secret - 1)]);
}

struct Section {
  u64 linear, pages;
};

Section map_epc() {
  const cpu::Cpuid r = cpu::cpuid(0x12, 2);
  const u64 base = (u64{r.ebx & 0xfffff} << 32) | (r.eax & 0xfffff000);
  const u64 bytes = (u64{r.edx & 0xfffff} << 32) | (r.ecx & 0xfffff000);
  if (bytes == 0) return {0, 0};
  map(epc_window, base & ~0x3fff'fffful, pte::p | pte::w, 3);
  return {epc_window + (base & 0x3fff'ffff), bytes / 4096};
}

/// Children first: a SECS that has some cannot be removed.
void remove_enclave(const Section& epc) {
  for (u64 i = epc.pages; i-- > 0;) encls(eremove, 0, epc.linear + i * 4096);
}

void build_enclave(const Section& epc) {
  u64 size = 4096;
  while (size < epc.pages * 4096) size *= 2;
  secs_image[0] = size;
  secs_image[1] = size;    // BASEADDR, aligned to the size
  secs_image[2] = 1;       // SSAFRAMESIZE
  secs_image[6] = mode64;  // ATTRIBUTES
  secs_image[7] = xfrm;
  secinfo[0] = 0;
  page_info[0] = 0;
  page_info[1] = address(secs_image);
  page_info[2] = address(secinfo);
  page_info[3] = 0;
  encls(ecreate, address(page_info), epc.linear);
  secinfo[0] = regular_page;
  page_info[1] = address(secret_page);
  page_info[3] = epc.linear;
  for (u64 i = 1; i < epc.pages; i++) {
    page_info[0] = size + (i - 1) * 4096;
    encls(eadd, address(page_info), epc.linear + i * 4096);
  }
}

}  // namespace

CASE(resident) {
  fill_secrets();
  resident::prepare();
  const Section epc = cpu::cpuid(0).eax >= 0x12 ? map_epc() : Section{0, 0};
  for (bool first = true;; first = false) {
    if (epc.pages != 0) {
      remove_enclave(epc);
      build_enclave(epc);
    }
    if (first) print("READY\n");
    resident::echo();
    resident::sleep();
  }
}
