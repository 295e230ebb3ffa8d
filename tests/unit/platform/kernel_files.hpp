// Kernels made by hand: a small ELF with a PVH note, and bzImages around it in each compression. Field offsets are
// those of the System V gABI, chapters 4 and 5, and of Linux' Documentation/arch/x86/boot.rst.
#pragma once

#include <lz4.h>
#include <lzma.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <array>
#include <string_view>

#include "platform/bytes.hpp"

namespace cloister::test {

using platform::append;
using platform::Bytes;
using platform::store;

inline void require(bool condition) {
  if (!condition) std::abort();
}

/// What make_elf puts where; a test damages the file at the offsets below.
struct ElfShape {
  bool wide = true;  ///< ELF64
  u64 load_at = 0x10'0000, entry = 0x10'0010;
  u64 text_bytes = 0x300, memory_bytes = 0x2000;
  u32 note_type = 18;
  std::string_view note_name = std::string_view("Xen\0", 4);
  unsigned descriptor_bytes = 4;
};

namespace elf64_field {
inline constexpr u64 file_class = 4, encoding = 5, type = 16, machine = 18, phoff = 32, phentsize = 54, phnum = 56;
inline constexpr u64 segment = 64;  ///< the first program header: PT_LOAD; the second: PT_NOTE
inline constexpr u64 offset = segment + 8, physical = segment + 24, filesz = segment + 32, memsz = segment + 40;
inline constexpr u64 note = segment + 56, note_filesz = note + 32;
inline constexpr u64 note_data = 0x200;
}  // namespace elf64_field

inline void append_word(Bytes& out, bool wide, u64 value) {
  wide ? append<u64>(out, value) : append<u32>(out, static_cast<u32>(value));
}

inline void append_segment(Bytes& out, bool wide, u32 type, u64 offset, u64 physical, u64 file_bytes,
                           u64 memory_bytes) {
  append<u32>(out, type);
  if (wide) append<u32>(out, 7);  // flags
  for (u64 field : {offset, physical, physical, file_bytes, memory_bytes}) append_word(out, wide, field);
  if (!wide) append<u32>(out, 7);
  append_word(out, wide, 4);  // alignment
}

inline u8 text_byte(u64 i) { return static_cast<u8>(i * 7 + i / 256); }

inline Bytes make_elf(const ElfShape& shape = {}) {
  constexpr u64 note_at = elf64_field::note_data, text_at = 0x400;
  Bytes note;
  append<u32>(note, static_cast<u32>(shape.note_name.size()));
  append<u32>(note, shape.descriptor_bytes);
  append<u32>(note, shape.note_type);
  append(note, shape.note_name);
  note.resize(platform::align_up(note.size(), 4));
  for (unsigned i = 0; i < shape.descriptor_bytes; ++i)
    append(note, static_cast<u8>(i < 8 ? shape.entry >> (8 * i) : 0));

  Bytes elf;
  append(elf, std::string_view("\x7f"
                               "ELF"));
  for (u8 b : {shape.wide ? 2 : 1, 1, 1}) append(elf, b);
  elf.resize(16);
  append<u16>(elf, 2);  // executable
  append<u16>(elf, shape.wide ? 62 : 3);
  append<u32>(elf, 1);
  append_word(elf, shape.wide, shape.entry);
  append_word(elf, shape.wide, shape.wide ? 64 : 52);  // program headers follow the header
  append_word(elf, shape.wide, 0);
  append<u32>(elf, 0);
  for (int half : {shape.wide ? 64 : 52, shape.wide ? 56 : 32, 2, 0, 0, 0}) append<u16>(elf, static_cast<u16>(half));
  append_segment(elf, shape.wide, 1, text_at, shape.load_at, shape.text_bytes, shape.memory_bytes);
  append_segment(elf, shape.wide, 4, note_at, 0, note.size(), note.size());
  elf.resize(note_at);
  append(elf, note);
  elf.resize(text_at);
  for (u64 i = 0; i < shape.text_bytes; ++i) append(elf, text_byte(i));
  return elf;
}

enum class Compression { none, lz4, gzip, xz, zstd };
inline constexpr std::array compressions{Compression::lz4, Compression::gzip, Compression::xz, Compression::zstd};

constexpr const char* name_of(Compression c) {
  constexpr std::array names{"none", "lz4", "gzip", "xz", "zstd"};
  return names[static_cast<std::size_t>(c)];
}

inline Bytes lz4_legacy(std::span<const u8> data) {
  constexpr std::size_t block_bytes = 8 << 20;
  Bytes out;
  append<u32>(out, 0x184c2102);
  for (std::size_t at = 0; at < data.size(); at += block_bytes) {
    const auto block = data.subspan(at, std::min(block_bytes, data.size() - at));
    Bytes packed(static_cast<std::size_t>(LZ4_compressBound(static_cast<int>(block.size()))));
    const int n =
        LZ4_compress_default(reinterpret_cast<const char*>(block.data()), reinterpret_cast<char*>(packed.data()),
                             static_cast<int>(block.size()), static_cast<int>(packed.size()));
    require(n > 0);
    append<u32>(out, static_cast<u32>(n));
    append(out, std::span<const u8>(packed).first(static_cast<std::size_t>(n)));
  }
  return out;
}

inline Bytes gzip(std::span<const u8> data) {
  z_stream z{};
  require(deflateInit2(&z, 9, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) == Z_OK);
  Bytes out(deflateBound(&z, data.size()));
  z.next_in = const_cast<u8*>(data.data());
  z.avail_in = static_cast<uInt>(data.size());
  z.next_out = out.data();
  z.avail_out = static_cast<uInt>(out.size());
  require(deflate(&z, Z_FINISH) == Z_STREAM_END);
  out.resize(z.total_out);
  deflateEnd(&z);
  return out;
}

inline Bytes xz(std::span<const u8> data) {
  Bytes out(lzma_stream_buffer_bound(data.size()));
  std::size_t used = 0;
  require(lzma_easy_buffer_encode(6, LZMA_CHECK_CRC32, nullptr, data.data(), data.size(), out.data(), &used,
                                  out.size()) == LZMA_OK);
  out.resize(used);
  return out;
}

inline Bytes zstd(std::span<const u8> data) {
  Bytes out(ZSTD_compressBound(data.size()));
  const std::size_t used = ZSTD_compress(out.data(), out.size(), data.data(), data.size(), 3);
  require(!ZSTD_isError(used));
  out.resize(used);
  return out;
}

/// A payload as the kernel's build makes it: with the unpacked size at its end.
inline Bytes pack(Compression how, std::span<const u8> data) {
  Bytes out;
  switch (how) {
    case Compression::none: return {data.begin(), data.end()};
    case Compression::gzip: return gzip(data);
    case Compression::lz4: out = lz4_legacy(data); break;
    case Compression::xz: out = xz(data); break;
    case Compression::zstd: out = zstd(data); break;
  }
  append(out, static_cast<u32>(data.size()));
  return out;
}

namespace setup_field {
inline constexpr u64 sectors = 0x1f1, boot_flag = 0x1fe, magic = 0x202, version = 0x206, payload_offset = 0x248;
inline constexpr u64 payload_length = 0x24c;
inline constexpr u64 payload = 0x600 + 0x40;  ///< where make_bzimage puts it: two setup sectors, then 0x40 bytes
}  // namespace setup_field

inline Bytes make_bzimage(std::span<const u8> payload) {
  Bytes file(setup_field::payload);
  file[setup_field::sectors] = 2;
  store<u16>(file, setup_field::boot_flag, 0xaa55);
  store<u32>(file, setup_field::magic, 0x53726448);  // "HdrS"
  store<u16>(file, setup_field::version, 0x020f);
  store<u32>(file, setup_field::payload_offset, 0x40);
  store<u32>(file, setup_field::payload_length, static_cast<u32>(payload.size()));
  append(file, payload);
  file.resize(file.size() + 64);  // something follows
  return file;
}

}  // namespace cloister::test
