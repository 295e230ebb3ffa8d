// A small ELF64 program for the tests: a page of code, and two that can be written, most of which
// are zeros.
#pragma once

#include <elf.h>

#include <cstring>
#include <string_view>
#include <vector>

#include "arch/types.hpp"

namespace cloister::enclave::test {

inline constexpr u64 headers_at = 64, code_at = 0x200, data_at = 0xa00, note_at = 0xb00, names_at = 0xe00,
                     sections_at = 0xf00, dynamic_at = 0x1100, file_bytes = 0x1200;

template <class T>
void store(std::vector<u8>& file, u64 at, const T& value) {
  std::memcpy(file.data() + at, &value, sizeof value);
}
template <class T>
T load(const std::vector<u8>& file, u64 at) {
  T value;
  std::memcpy(&value, file.data() + at, sizeof value);
  return value;
}

/// The third header is PT_NULL, for tests that need one more.
inline u64 segment_header(unsigned n) { return headers_at + n * sizeof(Elf64_Phdr); }

inline std::vector<u8> make_program() {
  std::vector<u8> file(file_bytes);
  Elf64_Ehdr elf{};
  std::memcpy(elf.e_ident, ELFMAG, SELFMAG);
  elf.e_ident[EI_CLASS] = ELFCLASS64;
  elf.e_ident[EI_DATA] = ELFDATA2LSB;
  elf.e_type = ET_DYN;
  elf.e_machine = EM_X86_64;
  elf.e_entry = 0x10;
  elf.e_phoff = headers_at;
  elf.e_phentsize = sizeof(Elf64_Phdr);
  elf.e_phnum = 3;
  elf.e_shoff = sections_at;
  elf.e_shentsize = sizeof(Elf64_Shdr);
  elf.e_shnum = 2;
  elf.e_shstrndx = 0;
  store(file, 0, elf);
  const Elf64_Phdr code{.p_type = PT_LOAD,
                        .p_flags = PF_R | PF_X,
                        .p_offset = code_at,
                        .p_vaddr = 0,
                        .p_paddr = 0,
                        .p_filesz = 0x800,
                        .p_memsz = 0x800,
                        .p_align = 0x1000};
  const Elf64_Phdr data{.p_type = PT_LOAD,
                        .p_flags = PF_R | PF_W,
                        .p_offset = data_at,
                        .p_vaddr = 0x1000,
                        .p_paddr = 0,
                        .p_filesz = 0x400,
                        .p_memsz = 0x1800,
                        .p_align = 0x1000};
  store(file, segment_header(0), code);
  store(file, segment_header(1), data);
  for (u64 i = 0; i < 0x800; i++) file[code_at + i] = static_cast<u8>(i);
  for (u64 i = 0; i < 0x400; i++) file[data_at + i] = 0xd0;

  constexpr std::string_view names{"\0.names\0.enclave_layout\0", 24};
  std::memcpy(file.data() + names_at, names.data(), names.size());
  Elf64_Shdr strings{}, note{};
  strings.sh_name = 1;
  strings.sh_offset = names_at;
  strings.sh_size = names.size();
  note.sh_name = 8;
  note.sh_addr = 0x1000 + (note_at - data_at);
  note.sh_offset = note_at;
  note.sh_size = 48;
  store(file, sections_at, strings);
  store(file, sections_at + sizeof strings, note);
  return file;
}

}  // namespace cloister::enclave::test
