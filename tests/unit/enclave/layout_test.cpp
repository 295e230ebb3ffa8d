// From an ELF program to pages: where they are, what they hold and who may use them; and what no enclave can be made
// of.
#include "enclave/layout.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "program.hpp"

namespace cloister::enclave {
namespace {

using namespace test;
using ::testing::HasSubstr;

struct LoadedPage {
  u64 flags = 0;
  std::vector<u8> content;
  unsigned measured = 0;
};

std::map<u64, LoadedPage> pages_of(const Stream& stream) {
  std::map<u64, LoadedPage> pages;
  for (const Record& record : stream.records) {
    LoadedPage& page = pages[record.offset & ~arch::page_mask];
    if (record.kind == RecordKind::add) {
      page.flags = record.flags;
      continue;
    }
    page.content.insert(page.content.end(), record.data.begin(), record.data.end());
    if (record.kind == RecordKind::extend) page.measured++;
  }
  return pages;
}

std::string error_of(const std::vector<u8>& file, const Settings& settings = {}) {
  const auto stream = lay_out(file, settings);
  return stream ? "" : stream.error();
}

TEST(Layout, PutsSegmentsHeapAndThreadsInOrder) {
  const Settings settings{.heap = 0x2000, .dynamic = 0x3000, .stack = 0x2000, .threads = 2, .ssa_frames = 3};
  const auto stream = lay_out(make_program(), settings);
  ASSERT_TRUE(stream) << stream.error();
  const auto pages = pages_of(*stream);

  // Code, three pages of which the program has two, heap; then for each thread a gap, two pages of stack, TCS, two
  // pages of data and three frames.
  std::vector<u64> expected{0, 0x1000, 0x2000, 0x3000, 0x4000};
  for (u64 thread : {0x5000u, 0xe000u}) {
    for (u64 page = 1; page < 9; page++) expected.push_back(thread + page * 0x1000);
  }
  std::vector<u64> places;
  for (const auto& [place, page] : pages) {
    places.push_back(place);
    EXPECT_EQ(page.content.size(), 4096u);
    EXPECT_EQ(page.measured, 16u) << "not measured whole";
  }
  EXPECT_EQ(places, expected);
  EXPECT_EQ(stream->size, 0x20000u) << "room to 0x1a000, as a power of two";

  EXPECT_EQ(pages.at(0).flags, 0x205u);
  EXPECT_EQ(pages.at(0x1000).flags, 0x203u);
  EXPECT_EQ(pages.at(0x8000).flags, 0x100u);
  EXPECT_EQ(pages.at(0).content[0x7ff], 0xff);
  EXPECT_EQ(pages.at(0).content[0x800], 0) << "the rest of a page is zero";
  EXPECT_EQ(pages.at(0x1000).content[0x3ff], 0xd0);
  EXPECT_EQ(pages.at(0x1000).content[0x400], 0);
}

TEST(Layout, FillsInThreadControlStructuresAsEenterWantsThem) {
  const auto stream = lay_out(make_program(), {.stack = 0x1000, .threads = 1, .ssa_frames = 2, .ssa_frame_pages = 4});
  ASSERT_TRUE(stream) << stream.error();
  const auto pages = pages_of(*stream);
  const auto tcs = load<arch::Tcs>(pages.at(0x5000).content, 0);
  EXPECT_EQ(tcs.oentry, 0x10u);
  EXPECT_EQ(tcs.ofsbase, 0x6000u);
  EXPECT_EQ(tcs.ogsbase, 0x6000u);
  EXPECT_EQ(tcs.ossa, 0x8000u);
  EXPECT_EQ(tcs.nssa, 2u);
  EXPECT_EQ(tcs.flags | tcs.state | tcs.cssa | tcs.aep, 0u);
  EXPECT_EQ(tcs.fslimit & 0xfff, 0xfffu);
  EXPECT_TRUE(pages.contains(0xf000)) << "two frames of four pages";
  EXPECT_FALSE(pages.contains(0x10000));
  EXPECT_EQ(stream->ssa_frame_pages, 4u);
}

TEST(Layout, TellsTheProgramOfItsRoom) {
  const auto stream = lay_out(make_program(), {.heap = 0x5000, .dynamic = 1, .stack = 1});
  ASSERT_TRUE(stream) << stream.error();
  const auto note = load<LayoutNote>(pages_of(*stream).at(0x1000).content, note_at - data_at);
  EXPECT_EQ(note.size, stream->size);
  EXPECT_EQ(note.heap, 0x3000u);
  EXPECT_EQ(note.heap_bytes, 0x5000u);
  EXPECT_EQ(note.dynamic, 0x8000u + 0x1000 * 7);
  EXPECT_EQ(note.dynamic_bytes, 0x1000u);
  EXPECT_EQ(note.ssa_frame_bytes, 0x1000u);
}

TEST(Layout, WhatItMakesCanBeReadBack) {
  const auto stream = lay_out(make_program(), {.threads = 3});
  ASSERT_TRUE(stream) << stream.error();
  const auto again = read_sgxs(write_sgxs(*stream));
  ASSERT_TRUE(again) << again.error();
  EXPECT_EQ(*again, *stream);
}

TEST(Layout, RefusesASizeThatDoesNotFit) {
  EXPECT_THAT(error_of(make_program(), {.size = 0x4000}), HasSubstr("expected a power of two, at least"));
  EXPECT_THAT(error_of(make_program(), {.size = 0x30000}), HasSubstr("expected a power of two, at least"));
  EXPECT_EQ(error_of(make_program(), {.size = 0x100000}), "");
}

TEST(Layout, RefusesMoreThanItCanHold) {
  EXPECT_THAT(error_of(make_program(), {.heap = u64{1} << 36}), HasSubstr("more than"));
  auto file = make_program();
  store(file, segment_header(1) + offsetof(Elf64_Phdr, p_memsz), u64{1} << 36);
  EXPECT_THAT(error_of(file), HasSubstr("more than"));
  store(file, segment_header(1) + offsetof(Elf64_Phdr, p_memsz), ~u64{0});
  EXPECT_THAT(error_of(file), HasSubstr("too large"));
}

TEST(Layout, RefusesProgramsThatAreNotPlainImages) {
  struct Damage {
    u64 at;
    u16 value;
    const char* message;
  };
  const Damage cases[] = {
      {0, 0x4141, "not an ELF file"},
      {EI_CLASS, ELFCLASS32 | ELFDATA2LSB << 8, "not for x86-64"},
      {offsetof(Elf64_Ehdr, e_machine), EM_AARCH64, "not for x86-64"},
      {offsetof(Elf64_Ehdr, e_type), ET_EXEC, "not position-independent"},
      {offsetof(Elf64_Ehdr, e_phentsize), 32, "program headers"},
      {offsetof(Elf64_Ehdr, e_phnum), 0xffff, "program headers are outside"},
      {offsetof(Elf64_Ehdr, e_phnum), 0, "nothing to load"},
      {offsetof(Elf64_Ehdr, e_entry), 0x1010, "entry point"},
      {offsetof(Elf64_Ehdr, e_shnum), 0xffff, "section headers are outside"},
      {headers_at + offsetof(Elf64_Phdr, p_vaddr), 0x10, "does not start a page"},
      {headers_at + offsetof(Elf64_Phdr, p_offset), 0x3fff, "outside the file"},
      {headers_at + offsetof(Elf64_Phdr, p_filesz), 0x900, "more in the file"},
      {headers_at + offsetof(Elf64_Phdr, p_memsz), 0x1001, "share the page"},
      {headers_at + offsetof(Elf64_Phdr, p_flags), PF_W, "written and not read"},
      {headers_at + offsetof(Elf64_Phdr, p_type), PT_INTERP, "dynamic linker"},
      {headers_at + offsetof(Elf64_Phdr, p_type), PT_TLS, "thread-local"},
      {sections_at + sizeof(Elf64_Shdr) + offsetof(Elf64_Shdr, sh_size), 47, ".enclave_layout"},
  };
  for (const Damage& damage : cases) {
    auto file = make_program();
    store(file, damage.at, damage.value);
    EXPECT_THAT(error_of(file), HasSubstr(damage.message));
  }
}

TEST(Layout, RefusesRelocations) {
  auto file = make_program();
  store(file, segment_header(2),
        Elf64_Phdr{.p_type = PT_DYNAMIC,
                   .p_flags = PF_R,
                   .p_offset = dynamic_at,
                   .p_vaddr = 0,
                   .p_paddr = 0,
                   .p_filesz = 2 * sizeof(Elf64_Dyn),
                   .p_memsz = 2 * sizeof(Elf64_Dyn),
                   .p_align = 8});
  EXPECT_EQ(error_of(file), "") << "a dynamic section as such does no harm";
  for (i64 tag : {i64{DT_RELASZ}, i64{DT_RELSZ}, i64{DT_PLTRELSZ}, i64{35}}) {
    store(file, dynamic_at, Elf64_Dyn{.d_tag = tag, .d_un = {.d_val = 24}});
    EXPECT_THAT(error_of(file), HasSubstr("relocations"));
  }
}

TEST(Layout, RefusesAProgramHoweverItIsCut) {
  const auto whole = make_program();
  constexpr std::size_t used = sections_at + 2 * sizeof(Elf64_Shdr);
  for (std::size_t size = 0; size < used; size += 7) {
    const std::vector<u8> cut(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size));
    EXPECT_NE(error_of(cut), "") << size;
  }
}

}  // namespace
}  // namespace cloister::enclave
