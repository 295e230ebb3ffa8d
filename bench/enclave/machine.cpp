// Memory map: RAM from 0, mapped one to one by 2 MiB pages; EPC, mapped by 4 KiB pages for ENCLS and again, page by
// page, as the enclave's addresses.
#include "machine.hpp"

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "arch/msr.hpp"
#include "enclave/measure.hpp"
#include "enclave/sigstruct.hpp"
#include "image.h"
#include "silicon/silicon.hpp"

extern "C" {
extern const cloister::u8 routines[], routines_end[];  // routines.S
extern const cloister::u8 routine_build[], routine_remove[], routine_version_array[], routine_block[], routine_page[],
    routine_enter[];
extern const cloister::u8 work_outside[], work_outside_end[];  // work.S
}

namespace cloister::bench {

namespace {

using arch::page_size;

constexpr u64 mib = 1 << 20;
constexpr u64 ram_bytes = 128 * mib;
constexpr u64 tables = 1 * mib, code = 4 * mib, work_code = 5 * mib, operands = 6 * mib, secinfos = 8 * mib,
              pcmds = 10 * mib, sealed = 12 * mib, source = 16 * mib;
// In `operands`.
constexpr u64 pageinfo = operands, secinfo = operands + 0x40, secs_source = operands + 0x1000,
              sigstruct_at = operands + 0x2000, token = operands + 0x3000, word = operands + 0x4000;

constexpr arch::Mfn first_frame{0x80'0000};
constexpr u64 epc = u64{4} << 30;                             ///< guest-physical
constexpr u64 window = u64{1} << 36, elrange = u64{1} << 37;  ///< linear: for ENCLS, for the enclave
constexpr u64 secs_page = window, first_page = window + page_size, va_page = first_page + IMAGE_BYTES;
constexpr u64 epc_pages = IMAGE_PAGES + 2;

constexpr u64 present = 1, writable = 2, user = 4, large = 0x80;

[[noreturn]] void fail(const char* what, const std::string& why) {
  std::fprintf(stderr, "error: %s: %s\n", what, why.c_str());
  std::exit(1);
}

template <class T>
T must(const char* what, tl::expected<T, std::string> result) {
  if (!result) fail(what, result.error());
  return *std::move(result);
}

enclave::Stream make_stream() {
  enclave::Stream stream{.size = IMAGE_BYTES, .ssa_frame_pages = 1, .records = {}};
  std::array<u8, page_size> page;
  for (unsigned i = 0; i < IMAGE_PAGES; ++i) {
    image_page(i, page.data());
    enclave::add_page(stream, i * page_size, image_flags(i), page);
  }
  return stream;
}

/// Where a routine lies in the guest.
u64 address_of(const u8* routine) { return code + static_cast<u64>(routine - routines); }

void check(const char* what, const silicon::GeneralRegs& regs) {
  if (regs.gpr[arch::rbp] != 0) fail(what, "error codes " + std::to_string(regs.gpr[arch::rbp]));
}

silicon::SystemRegs system_regs(u8 cpl) {
  constexpr u32 code64 = 0xa09b, data = 0xc093, dpl3 = 0x60, unusable = 0x10000;
  const u32 level = cpl == 3 ? dpl3 : 0;
  silicon::SystemRegs s;
  for (silicon::Segment& segment : s.seg) segment = {static_cast<u16>(0x10 | cpl), 0, 0xffff'ffff, data | level};
  s.seg[arch::seg_cs] = {static_cast<u16>(0x08 | cpl), 0, 0xffff'ffff, code64 | level};
  s.ldtr.attributes = unusable;
  s.tr = {0x18, 0, 0x67, 0x8b};
  s.cr0 = arch::cr0::pe | arch::cr0::ne | arch::cr0::wp | arch::cr0::pg;
  s.cr3 = tables;
  s.cr4 = arch::cr4::pae | arch::cr4::osfxsr;
  s.efer = arch::efer::lme | arch::efer::lma;
  return s;
}

}  // namespace

const std::vector<u8>& measured_bytes() {
  static const std::vector<u8> bytes = enclave::write_sgxs(make_stream());
  return bytes;
}

const arch::Sigstruct& sigstruct() {
  static const arch::Sigstruct structure = [] {
    const auto key = must("key", enclave::SigningKey::generate());
    return must("signature", enclave::sign(enclave::sha256(measured_bytes()), {}, key));
  }();
  return structure;
}

struct Machine::Registers {
  u64 rcx = 0, rdx = 0, rsi = 0, rdi = 0, r8 = 0, r9 = 0, r10 = 0, r11 = 0, r12 = 0, r13 = 0, r14 = 0, r15 = 0;
};

Machine::Machine()
    : package_({.epc = {{first_frame, epc_pages}}, .root_secret = {1}, .boot = 1}),
      vcpu_(package_, memory_, {}),
      next_table_(tables + page_size) {
  if (!memory_.map_ram(arch::Gpa{0}, ram_bytes) || !memory_.map_epc(arch::Gpa{epc}, first_frame, epc_pages)) {
    fail("memory", "cannot be mapped");
  }
  make_page_tables();
  std::array<u8, page_size> page;
  for (unsigned i = 0; i < IMAGE_PAGES; ++i) {
    image_page(i, page.data());
    write(source + i * page_size, page);
    put(secinfos + i * sizeof(arch::Secinfo), arch::Secinfo{image_flags(i), {}});
  }
  arch::Secs secs{};
  secs.size = IMAGE_BYTES;
  secs.base = elrange;
  secs.ssa_frame_size = 1;
  secs.attributes = {arch::attributes::mode64bit, 3};
  put(secs_source, secs);
  put(sigstruct_at, sigstruct());
  // Launch control accepts this signer.
  arch::Bytes32 signer = enclave::mrsigner(sigstruct());
  for (u32 i = 0; i < 4; ++i) {
    u64 part;
    std::memcpy(&part, signer.data() + 8 * i, sizeof part);
    if (!vcpu_.write_msr(arch::msr::sgxlepubkeyhash0 + i, part)) fail("launch control", "MSR refused");
  }
  write(code, {routines, routines_end});
  write(work_code, {::work_outside, work_outside_end});
  run("version array", address_of(routine_version_array), 0, {.rcx = va_page});
}

void Machine::write(u64 at, std::span<const u8> bytes) {
  if (!memory_.write(arch::Gpa{at}, std::as_bytes(bytes))) fail("memory", "no RAM there");
}

void Machine::make_page_tables() {
  // The first GiB: PML4E, PDPTE, and a page directory of large pages.
  const u64 pdpt = next_table_, directory = pdpt + page_size;
  next_table_ = directory + page_size;
  put(tables, pdpt | present | writable | user);
  put(pdpt, directory | present | writable | user);
  for (u64 i = 0; i < ram_bytes / (2 * mib); ++i) {
    put(directory + i * 8, i * 2 * mib | large | present | writable | user);
  }
  for (u64 i = 0; i < epc_pages; ++i) map(window + i * page_size, epc + i * page_size);
  for (u64 i = 0; i < IMAGE_PAGES; ++i) map(elrange + i * page_size, epc + (i + 1) * page_size);
}

/// One 4 KiB page, with the tables above it as far as they are missing.
void Machine::map(u64 linear, u64 physical) {
  u64 table = tables;
  for (unsigned shift = 39; shift > 12; shift -= 9) {
    const u64 at = table + ((linear >> shift) & 511) * 8;
    u64 entry = 0;
    memory_.read(arch::Gpa{at}, std::as_writable_bytes(std::span(&entry, 1)));
    if (entry == 0) {
      entry = next_table_ | present | writable | user;
      next_table_ += page_size;
      put(at, entry);
    }
    table = entry & ~u64{0xfff};
  }
  put(table + ((linear >> 12) & 511) * 8, physical | present | writable | user);
}

silicon::GeneralRegs Machine::run(const char* what, u64 rip, u8 cpl, const Registers& r) {
  silicon::GeneralRegs regs;
  regs.gpr = {0, r.rcx, r.rdx, 0, 0, 0, r.rsi, r.rdi, r.r8, r.r9, r.r10, r.r11, r.r12, r.r13, r.r14, r.r15};
  regs.rip = rip;
  vcpu_.set_system(system_regs(cpl));
  vcpu_.set_general(regs);
  const silicon::Exit exit = vcpu_.run(~u64{0});
  if (exit.reason != silicon::ExitReason::vmcall) fail(what, silicon::name_of(exit.reason));
  return vcpu_.general();
}

void Machine::build() {
  put(pageinfo, arch::Pageinfo{0, secs_source, secinfo, 0});
  const auto regs = run("build", address_of(routine_build), 0,
                        {.rsi = pageinfo,
                         .rdi = secs_page,
                         .r8 = elrange,
                         .r9 = source,
                         .r10 = secinfos,
                         .r13 = IMAGE_PAGES,
                         .r14 = sigstruct_at,
                         .r15 = token});
  if (regs.gpr[arch::rax] != 0) fail("build", "EINIT: " + std::to_string(regs.gpr[arch::rax]));
}

void Machine::remove() {
  check("remove",
        run("remove", address_of(routine_remove), 0, {.rdi = secs_page, .r11 = first_page, .r13 = IMAGE_PAGES}));
}

void Machine::block() {
  check("block", run("block", address_of(routine_block), 0,
                     {.rdi = secs_page, .r11 = first_page + IMAGE_DATA * page_size, .r13 = paged}));
}

void Machine::page() {
  check("page", run("page", address_of(routine_page), 0,
                    {.rsi = pageinfo,
                     .rdi = secs_page,
                     .r9 = sealed,
                     .r10 = pcmds,
                     .r11 = first_page + IMAGE_DATA * page_size,
                     .r12 = va_page,
                     .r13 = paged}));
}

void Machine::enter(u64 times, u64 rounds) {
  run("enter", address_of(routine_enter), 3,
      {.rsi = elrange + IMAGE_DATA * page_size, .r12 = rounds, .r13 = times, .r14 = elrange + IMAGE_TCS * page_size});
}

void Machine::work_outside(u64 rounds) { run("work", work_code, 3, {.rsi = word, .rdi = rounds}); }

}  // namespace cloister::bench
