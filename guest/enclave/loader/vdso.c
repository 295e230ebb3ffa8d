// Finds a function in the vDSO, which the kernel mapped and whose ELF header the auxiliary vector points to: the
// program headers say where its dynamic symbols are.
#include <elf.h>
#include <string.h>
#include <sys/auxv.h>

#include "loader.h"

void* vdso_function(const char* name) {
  const uint8_t* base = (const uint8_t*)getauxval(AT_SYSINFO_EHDR);
  if (!base) return NULL;
  const Elf64_Ehdr* elf = (const Elf64_Ehdr*)base;
  const Elf64_Phdr* segment = (const Elf64_Phdr*)(base + elf->e_phoff);
  const Elf64_Dyn* dynamic = NULL;
  uint64_t first = ~0ull;
  for (int i = 0; i < elf->e_phnum; i++) {
    if (segment[i].p_type == PT_DYNAMIC) dynamic = (const Elf64_Dyn*)(base + segment[i].p_offset);
    if (segment[i].p_type == PT_LOAD && segment[i].p_vaddr < first) first = segment[i].p_vaddr;
  }
  // Addresses in the dynamic section are those the vDSO was linked for.
  const char* strings = NULL;
  const Elf64_Sym* symbols = NULL;
  const uint32_t *hash = NULL, *gnu_hash = NULL;
  for (; dynamic && dynamic->d_tag != DT_NULL; dynamic++) {
    const uint8_t* at = base + (dynamic->d_un.d_ptr - first);
    if (dynamic->d_tag == DT_STRTAB) strings = (const char*)at;
    if (dynamic->d_tag == DT_SYMTAB) symbols = (const Elf64_Sym*)at;
    if (dynamic->d_tag == DT_HASH) hash = (const uint32_t*)at;
    if (dynamic->d_tag == DT_GNU_HASH) gnu_hash = (const uint32_t*)at;
  }
  if (!strings || !symbols || (!hash && !gnu_hash)) return NULL;
  // The old table says how many symbols there are. The new one has chains, which end where bit 0 is set.
  uint32_t count = hash ? hash[1] : 0;
  if (!hash) {
    const uint32_t buckets = gnu_hash[0], first_symbol = gnu_hash[1];
    const uint32_t* bucket = gnu_hash + 4 + 2 * gnu_hash[2];
    for (uint32_t i = 0; i < buckets; i++) {
      if (bucket[i] > count) count = bucket[i];
    }
    while (count >= first_symbol && !(bucket[buckets + count - first_symbol] & 1)) count++;
    count++;
  }
  for (uint32_t i = 1; i < count; i++) {
    if (symbols[i].st_shndx != SHN_UNDEF && strcmp(strings + symbols[i].st_name, name) == 0) {
      return (void*)(base + (symbols[i].st_value - first));
    }
  }
  return NULL;
}
