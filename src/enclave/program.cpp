#include "enclave/program.hpp"

#include <elf.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "arch/try.hpp"

namespace cloister::enclave {
namespace {

constexpr u64 largest_address = u64{1} << 36;

/// `count` structures at `offset`; nothing if the file has not that many.
template <class T>
std::optional<std::vector<T>> table(std::span<const u8> file, u64 offset, u64 count) {
  if (offset > file.size() || count > (file.size() - offset) / sizeof(T)) return std::nullopt;
  std::vector<T> rows(count);
  if (count != 0) std::memcpy(rows.data(), file.data() + offset, count * sizeof(T));
  return rows;
}

template <class... Words>
tl::unexpected<std::string> error(fmt::format_string<Words...> text, Words&&... words) {
  return tl::unexpected(fmt::format(text, std::forward<Words>(words)...));
}

u64 permissions(u32 flags) {
  using namespace arch::secinfo_flags;
  return ((flags & PF_R) != 0 ? r : 0) | ((flags & PF_W) != 0 ? w : 0) | ((flags & PF_X) != 0 ? x : 0);
}

u64 page_up(u64 bytes) { return (bytes + arch::page_mask) & ~arch::page_mask; }

/// A relocation would have to be applied inside the enclave, after it was measured.
Result<void> no_relocations(std::span<const u8> file, const Elf64_Phdr& dynamic) {
  const auto entries = table<Elf64_Dyn>(file, dynamic.p_offset, dynamic.p_filesz / sizeof(Elf64_Dyn));
  if (!entries) return error("the dynamic section is outside the file");
  for (const Elf64_Dyn& entry : *entries) {
    if (entry.d_tag == DT_NULL) break;
    if (entry.d_tag == DT_NEEDED) return error("it needs a shared library");
    const bool relocates = entry.d_tag == DT_RELASZ || entry.d_tag == DT_RELSZ || entry.d_tag == DT_PLTRELSZ ||
                           entry.d_tag == 35 /* DT_RELRSZ, which older headers lack */;
    if (relocates && entry.d_un.d_val != 0) {
      return error("it needs relocations: data that holds addresses does not work in an enclave");
    }
  }
  return {};
}

Result<Segment> segment(std::span<const u8> file, const Elf64_Phdr& header) {
  if (header.p_vaddr % arch::page_size != 0) return error("the segment at {:#x} does not start a page", header.p_vaddr);
  if (header.p_vaddr > largest_address || header.p_memsz > largest_address) {
    return error("the segment at {:#x} is too large or too high", header.p_vaddr);
  }
  if (header.p_offset > file.size() || header.p_filesz > file.size() - header.p_offset) {
    return error("the segment at {:#x} is outside the file", header.p_vaddr);
  }
  if (header.p_filesz > header.p_memsz) return error("the segment at {:#x} has more in the file", header.p_vaddr);
  const u64 allowed = permissions(header.p_flags);
  if ((allowed & arch::secinfo_flags::w) != 0 && (allowed & arch::secinfo_flags::r) == 0) {
    return error("the segment at {:#x} can be written and not read", header.p_vaddr);
  }
  return Segment{header.p_vaddr, header.p_memsz, allowed, file.subspan(header.p_offset, header.p_filesz)};
}

Result<void> find_layout_note(std::span<const u8> file, const Elf64_Ehdr& elf, Program& program) {
  if (elf.e_shnum == 0) return {};
  const auto sections = table<Elf64_Shdr>(file, elf.e_shoff, elf.e_shnum);
  if (!sections || elf.e_shentsize != sizeof(Elf64_Shdr) || elf.e_shstrndx >= sections->size()) {
    return error("the section headers are outside the file");
  }
  const Elf64_Shdr& strings = (*sections)[elf.e_shstrndx];
  const auto names = table<char>(file, strings.sh_offset, strings.sh_size);
  if (!names) return error("the section names are outside the file");
  using namespace std::string_view_literals;
  constexpr std::string_view wanted = ".enclave_layout\0"sv;  // with the zero that ends a name
  for (const Elf64_Shdr& section : *sections) {
    if (std::string_view(names->data(), names->size())
            .substr(std::min<u64>(section.sh_name, names->size()))
            .starts_with(wanted)) {
      program.layout_note = section.sh_addr;
      program.layout_note_bytes = section.sh_size;
    }
  }
  return {};
}

}  // namespace

Result<Program> read_program(std::span<const u8> file) {
  const auto headers = table<Elf64_Ehdr>(file, 0, 1);
  if (!headers || std::memcmp(headers->front().e_ident, ELFMAG, SELFMAG) != 0) return error("it is not an ELF file");
  const Elf64_Ehdr& elf = headers->front();
  if (elf.e_ident[EI_CLASS] != ELFCLASS64 || elf.e_ident[EI_DATA] != ELFDATA2LSB || elf.e_machine != EM_X86_64) {
    return error("it is not for x86-64");
  }
  if (elf.e_type != ET_DYN) return error("it is not position-independent: link it with -static-pie");
  if (elf.e_phentsize != sizeof(Elf64_Phdr)) return error("its program headers have {} bytes each", +elf.e_phentsize);
  const auto rows = table<Elf64_Phdr>(file, elf.e_phoff, elf.e_phnum);
  if (!rows) return error("its program headers are outside the file");

  Program program;
  program.entry = elf.e_entry;
  for (const Elf64_Phdr& row : *rows) {
    if (row.p_type == PT_INTERP) return error("it needs a dynamic linker: link it with -static-pie");
    if (row.p_type == PT_TLS) return error("it has thread-local variables");
    if (row.p_type == PT_DYNAMIC) {
      TRY(no_relocations(file, row));
    }
    if (row.p_type != PT_LOAD || row.p_memsz == 0) continue;
    auto loaded = TRY(segment(file, row));
    program.segments.push_back(loaded);
  }
  if (program.segments.empty()) return error("it has nothing to load");
  std::ranges::sort(program.segments, {}, &Segment::address);
  for (std::size_t i = 1; i < program.segments.size(); i++) {
    const Segment& before = program.segments[i - 1];
    if (before.address + page_up(before.memory_bytes) > program.segments[i].address) {
      return error("two segments share the page {:#x}", program.segments[i].address);
    }
  }
  const auto holds_entry = [&program](const Segment& s) {
    return program.entry >= s.address && program.entry - s.address < s.content.size() &&
           (s.permissions & arch::secinfo_flags::x) != 0;
  };
  if (std::ranges::none_of(program.segments, holds_entry)) return error("the entry point is not in executable code");
  TRY(find_layout_note(file, elf, program));
  return program;
}

}  // namespace cloister::enclave
