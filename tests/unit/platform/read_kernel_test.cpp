// read_kernel: every kind of file that is taken, and one clear error for every kind of damage.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kernel_files.hpp"
#include "platform/pvh.hpp"

namespace cloister::platform {
namespace {

using namespace test;
using ::testing::HasSubstr;

std::string error_of(std::span<const u8> file) {
  const auto kernel = read_kernel(file);
  if (kernel) return "";
  EXPECT_EQ(kernel.error().find('\n'), std::string::npos);
  EXPECT_TRUE(kernel.error().starts_with("kernel: ")) << kernel.error();
  return kernel.error();
}

template <class T>
std::string error_with(u64 offset, T value) {
  Bytes elf = make_elf();
  store<T>(elf, offset, value);
  return error_of(elf);
}

TEST(ReadKernel, TakesElf64AndElf32) {
  for (bool wide : {true, false}) {
    const Bytes elf = make_elf({.wide = wide});
    const auto kernel = read_kernel(elf);
    ASSERT_TRUE(kernel) << kernel.error();
    EXPECT_EQ(kernel->entry, 0x10'0010u);
    EXPECT_EQ(kernel->elf, elf);
    ASSERT_EQ(kernel->segments.size(), 1u);
    EXPECT_EQ(kernel->segments[0].offset, 0x400u);
    EXPECT_EQ(kernel->segments[0].file_bytes, 0x300u);
    EXPECT_EQ(kernel->segments[0].physical, 0x10'0000u);
    EXPECT_EQ(kernel->segments[0].memory_bytes, 0x2000u);
  }
}

TEST(ReadKernel, TakesNotesWith8ByteDescriptors) {
  const auto kernel = read_kernel(make_elf({.descriptor_bytes = 8}));
  ASSERT_TRUE(kernel) << kernel.error();
  EXPECT_EQ(kernel->entry, 0x10'0010u);
}

TEST(ReadKernel, FindsTheNoteBehindOthers) {
  Bytes elf = make_elf();
  Bytes notes;  // a note of another kind with an odd name and descriptor, which are padded, comes first
  for (u32 word : {5u, 3u, 18u}) append(notes, word);
  append(notes, std::string_view("Xenx\0\0\0\0abc\0", 12));
  append(notes, std::span<const u8>(elf).subspan(elf64_field::note_data, 20));
  store<u64>(elf, elf64_field::note_filesz, notes.size());
  std::copy(notes.begin(), notes.end(), elf.begin() + elf64_field::note_data);
  const auto kernel = read_kernel(elf);
  ASSERT_TRUE(kernel) << kernel.error();
  EXPECT_EQ(kernel->entry, 0x10'0010u);
}

TEST(ReadKernel, UnpacksEachCompression) {
  // More than LZ4's block of 8 MiB.
  const Bytes elf = make_elf({.text_bytes = 9 << 20, .memory_bytes = 10 << 20});
  for (Compression how : compressions) {
    const auto kernel = read_kernel(make_bzimage(pack(how, elf)));
    ASSERT_TRUE(kernel) << name_of(how) << ": " << kernel.error();
    EXPECT_TRUE(kernel->elf == elf) << name_of(how);
    EXPECT_EQ(kernel->entry, 0x10'0010u);
  }
}

TEST(ReadKernel, TakesABzImageThatIsNotCompressed) {
  EXPECT_TRUE(read_kernel(make_bzimage(pack(Compression::none, make_elf()))));
}

TEST(ReadKernel, CountsNoSetupSectorsAsFour) {  // boot.rst, setup_sects
  Bytes file = make_bzimage(make_elf());
  file.insert(file.begin() + 0x600, 2 * 512, 0);
  file[setup_field::sectors] = 0;
  EXPECT_EQ(error_of(file), "");
}

TEST(ReadKernel, SaysWhatItFoundInsteadOfAKernel) {
  EXPECT_THAT(error_of({}), HasSubstr("neither ELF nor bzImage: 0x0 bytes"));
  const Bytes text(0x1000, u8{'A'});
  EXPECT_THAT(error_of(text), HasSubstr("neither ELF nor bzImage: 0x1000 bytes, starting with 41 41"));
}

TEST(ReadKernel, RejectsEveryTruncationOfAnElf) {
  const Bytes elf = make_elf();
  for (std::size_t n = 0; n < elf.size(); ++n) EXPECT_NE(error_of(std::span(elf).first(n)), "") << n;
}

TEST(ReadKernel, RejectsEveryTruncationOfAPayload) {
  const Bytes elf = make_elf();
  for (Compression how : compressions) {
    const Bytes whole = pack(how, elf);
    for (std::size_t n = 0; n < whole.size(); ++n) {
      const std::string error = error_of(make_bzimage(std::span(whole).first(n)));
      EXPECT_THAT(error, HasSubstr("payload")) << name_of(how) << " " << n;
    }
  }
}

TEST(ReadKernel, NoDamagedByteOfAPayloadIsFatal) {
  const Bytes elf = make_elf();
  for (Compression how : compressions) {
    const Bytes whole = pack(how, elf);
    for (std::size_t i = 0; i < whole.size(); ++i) {
      Bytes damaged = whole;
      damaged[i] ^= 0x55;
      const auto kernel = read_kernel(make_bzimage(damaged));  // a kernel of the right size or an error
      EXPECT_TRUE(!kernel || kernel->elf.size() == elf.size());
    }
  }
}

TEST(ReadKernel, ComparesTheUnpackedSizeWithWhatThePayloadSays) {
  const Bytes elf = make_elf();
  for (Compression how : {Compression::lz4, Compression::xz, Compression::zstd}) {
    Bytes payload = pack(how, elf);
    store<u32>(payload, payload.size() - 4, static_cast<u32>(elf.size() + 5));
    EXPECT_THAT(error_of(make_bzimage(payload)), HasSubstr("unpacks to 0x700 bytes; its last four bytes say 0x705"))
        << name_of(how);
    store<u32>(payload, payload.size() - 4, 0x100);
    EXPECT_THAT(error_of(make_bzimage(payload)),
                HasSubstr("unpacks to at least 0x101 bytes; its last four bytes say 0x100"))
        << name_of(how);
    store<u32>(payload, payload.size() - 4, 0xffff'fff0);
    EXPECT_THAT(error_of(make_bzimage(payload)), HasSubstr("at most 0x40000000 are accepted")) << name_of(how);
  }
}

TEST(ReadKernel, RejectsAnLz4BlockThatRunsPastTheEnd) {
  Bytes payload = pack(Compression::lz4, make_elf());
  store<u32>(payload, 4, 0xffff'ffff);
  EXPECT_THAT(error_of(make_bzimage(payload)),
              HasSubstr("lz4: a block of 0xffffffff bytes at payload offset 0x8 runs"));
}

TEST(ReadKernel, NamesAnUnknownCompression) {
  EXPECT_THAT(error_of(make_bzimage(Bytes{'B', 'Z', 'h', '9', 0, 0, 0, 0})),
              HasSubstr("starts with 42 5a 68 39 00 00; expected the magic of lz4"));
}

TEST(ReadKernel, RejectsAPayloadThatIsNoElf) {
  const Bytes zeros(100);
  for (Compression how : compressions)
    EXPECT_THAT(error_of(make_bzimage(pack(how, zeros))), HasSubstr("unpacks to 0x64 bytes that are no ELF"));
}

TEST(ReadKernel, RejectsLyingSetupHeaders) {
  const Bytes good = make_bzimage(make_elf());
  auto damaged = [&](u64 offset, u32 value) {
    Bytes file = good;
    store<u32>(file, offset, value);
    return error_of(file);
  };
  EXPECT_THAT(damaged(setup_field::payload_offset, 0xffff'ffff), HasSubstr("runs past the end of the file"));
  EXPECT_THAT(damaged(setup_field::payload_length, 0xffff'ffff),
              HasSubstr("the bzImage's payload at file offset 0x640 with 0xffffffff bytes runs past"));
  EXPECT_THAT(damaged(setup_field::version, 0x0207), HasSubstr("boot protocol 2.07; expected 2.08"));
  EXPECT_THAT(damaged(setup_field::magic, 0), HasSubstr("neither ELF nor bzImage"));
  EXPECT_THAT(damaged(setup_field::boot_flag, 0), HasSubstr("neither ELF nor bzImage"));
}

TEST(ReadKernel, RejectsLyingElfHeaders) {
  namespace f = elf64_field;
  EXPECT_THAT(error_with<u8>(f::file_class, 3), HasSubstr("ELF class 3"));
  EXPECT_THAT(error_with<u8>(f::encoding, 2), HasSubstr("data encoding 2"));
  EXPECT_THAT(error_with<u16>(f::type, 1), HasSubstr("ELF type 1; expected 2"));
  EXPECT_THAT(error_with<u16>(f::machine, 183), HasSubstr("machine 183; expected 62"));
  EXPECT_THAT(error_with<u16>(f::phentsize, 55), HasSubstr("program headers of 55 bytes; expected 56"));
  EXPECT_THAT(error_with<u16>(f::phnum, 0xffff), HasSubstr("65535 ELF program headers at file offset 0x40 run past"));
  EXPECT_THAT(error_with<u64>(f::phoff, ~u64{0}), HasSubstr("run past the end of the file"));
  EXPECT_THAT(error_with<u64>(f::offset, 0x500),
              HasSubstr("ELF segment 0 at file offset 0x500 with 0x300 bytes runs past the end of the file (0x700"));
  EXPECT_THAT(error_with<u64>(f::offset, ~u64{0}), HasSubstr("ELF segment 0 at file offset 0xffffffffffffffff"));
  EXPECT_THAT(error_with<u64>(f::filesz, ~u64{0}), HasSubstr("runs past the end of the file"));
  EXPECT_THAT(error_with<u64>(f::memsz, 0x2ff), HasSubstr("0x300 bytes in the file and only 0x2ff in memory"));
  EXPECT_THAT(error_with<u64>(f::physical, ~u64{0}), HasSubstr("is not below 4 GiB"));
  EXPECT_THAT(error_with<u64>(f::memsz, ~u64{0}), HasSubstr("is not below 4 GiB"));
  EXPECT_THAT(error_with<u64>(f::note_filesz, ~u64{0}), HasSubstr("ELF segment 1"));
}

TEST(ReadKernel, RejectsAnElfWithoutPvhEntry) {
  EXPECT_THAT(error_of(make_elf({.note_type = 17})), HasSubstr("no PVH entry: Xen's note 18"));
  EXPECT_THAT(error_of(make_elf({.note_name = "Xem "})), HasSubstr("no PVH entry"));
  EXPECT_THAT(error_of(make_elf({.note_name = "Xen"})), HasSubstr("no PVH entry"));
  EXPECT_THAT(error_with<u16>(elf64_field::phnum, 1), HasSubstr("no PVH entry"));
}

TEST(ReadKernel, RejectsBadNotes) {
  EXPECT_THAT(error_of(make_elf({.descriptor_bytes = 6})), HasSubstr("PHYS32_ENTRY has 6 bytes; expected 4 or 8"));
  EXPECT_THAT(error_of(make_elf({.entry = 0x1'0010'0010, .descriptor_bytes = 8})), HasSubstr("is not below 4 GiB"));
  EXPECT_THAT(error_of(make_elf({.entry = 0x10'2000})), HasSubstr("0x102000 lies in none"));
  EXPECT_THAT(error_with<u32>(elf64_field::note_data, 0xffff'ffff), HasSubstr("note at offset 0x0 of segment 1 runs"));
  EXPECT_THAT(error_with<u32>(elf64_field::note_data + 4, 0xffff'ffff), HasSubstr("runs past the end of that segment"));
}

TEST(ReadKernel, RejectsSegmentsThatOverlap) {
  Bytes elf = make_elf();  // the note becomes a second PT_LOAD, a third header is a copy of it
  Bytes note(elf.begin() + elf64_field::note, elf.begin() + elf64_field::note + 56);
  std::copy(note.begin(), note.end(), elf.begin() + elf64_field::note + 56);
  store<u16>(elf, elf64_field::phnum, 3);
  store<u32>(elf, elf64_field::note, 1);
  store<u64>(elf, elf64_field::note + 24, 0x10'1fff);
  EXPECT_THAT(error_of(elf), HasSubstr("segments at physical 0x100000 and 0x101fff overlap"));
  store<u64>(elf, elf64_field::note + 24, 0x10'2000);
  EXPECT_EQ(error_of(elf), "");
}

}  // namespace
}  // namespace cloister::platform
