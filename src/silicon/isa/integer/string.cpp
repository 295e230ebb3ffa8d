// MOVS CMPS STOS LODS SCAS with and without repeat prefixes, and XLAT (SDM vol. 1, 7.3.9; vol. 2, REP).
//
// A repeated instruction works through a page at a time where both sides are plain memory, else through one element at
// a time. RCX, RSI and RDI are always those of the next element, so a fault leaves them as the manual asks, and after a
// bounded amount of work the instruction lets interrupts in and is come back to.
#include <algorithm>

#include "silicon/isa/integer/rows.hpp"
#include "silicon/isa/shapes.hpp"
#include "silicon/isa/stack.hpp"

namespace cloister::silicon {
namespace {

/// The linear address of an offset of A's size in a segment. In 64-bit mode ES has no base.
template <class A>
[[gnu::always_inline]] inline bool element_address(Cpu& cpu, const Op* op, u8 segment, A offset, unsigned bytes,
                                                   Access access, u64& linear) {
  if (sizeof(A) == 8 || cpu.code64) {
    linear = cpu.seg_base[segment] + offset;
    return true;
  }
  const Maybe m = linear_in_segment(cpu, op, segment, static_cast<u32>(offset), bytes, access);
  linear = m.value;
  return m.ok;
}

template <class T, class A, class Path>
[[gnu::always_inline]] inline bool load_source(Cpu& cpu, const Op* op, T& v) {
  u64 linear;
  return element_address<A>(cpu, op, op->seg, cpu.reg<A>(arch::rsi), sizeof(T), Access::read, linear) &&
         Path::template load<T>(cpu, op, linear, v);
}
template <class T, class A, class Path>
[[gnu::always_inline]] inline bool load_destination(Cpu& cpu, const Op* op, T& v) {
  u64 linear;
  return element_address<A>(cpu, op, arch::seg_es, cpu.reg<A>(arch::rdi), sizeof(T), Access::read, linear) &&
         Path::template load<T>(cpu, op, linear, v);
}
template <class T, class A, class Path>
[[gnu::always_inline]] inline bool store_destination(Cpu& cpu, const Op* op, T v) {
  u64 linear;
  return element_address<A>(cpu, op, arch::seg_es, cpu.reg<A>(arch::rdi), sizeof(T), Access::write, linear) &&
         Path::template store<T>(cpu, op, linear, v);
}

template <class T, class A>
void advance(Cpu& cpu, u8 r, A elements = 1) {
  const A by = static_cast<A>(elements * sizeof(T));
  const A at = cpu.reg<A>(r);
  cpu.set_reg<A>(r, static_cast<A>(cpu.df ? at - by : at + by));
}

// ------------------------------------------------------------------------------------------------ page chunks

/// What a chunk did: `elements` 0 and `ok`: nothing, do one element the plain way.
struct Chunk {
  u64 elements;
  bool ok;
};

/// The host address of `linear`'s byte if the TLB can hold its page for the access; null and !ok: it faulted.
template <Access access>
u8* host_byte(Cpu& cpu, const Op* op, u64 linear, bool& ok) {
  const auto find = [&]() -> u8* {
    const TlbEntry& e = cpu.tlb.at(linear);
    const u64 tag = access == Access::write ? e.tag_write : e.tag_read;
    return tag == tlb_tag(linear, 1, cpu.context) ? reinterpret_cast<u8*>(e.addend + linear) : nullptr;
  };
  if (u8* const found = find()) return found;
  ok = (access == Access::write ? load_for_store_cold<u8>(cpu, op, linear) : load_cold<u8>(cpu, op, linear)).ok;
  return ok ? find() : nullptr;
}

template <class T>
u64 elements_in_page(u64 linear) {
  return (arch::page_size - arch::page_offset(linear)) / sizeof(T);
}

/// Element by element upwards, as the instruction does: what lies in both ranges is copied again.
template <class T>
void copy_upwards(u8* to, const u8* from, u64 elements) {
  const u64 bytes = elements * sizeof(T);
  if (static_cast<u64>(to - from) >= bytes) {
    move_guest(to, from, bytes);
    return;
  }
  for (u64 i = 0; i < bytes; i += sizeof(T)) {
    T v;
    copy_guest(&v, from + i, sizeof(T));
    copy_guest(to + i, &v, sizeof(T));
  }
}

template <class T>
void fill(u8* to, T v, u64 elements) {
  const u8 first = static_cast<u8>(v);
  if (v == static_cast<T>(0x0101'0101'0101'0101 * u64{first})) {
    fill_guest(to, first, elements * sizeof(T));
    return;
  }
  for (u64 i = 0; i < elements; ++i) copy_guest(to + i * sizeof(T), &v, sizeof(T));
}

// ------------------------------------------------------------------------------------------------ the instructions

struct NoChunks {
  template <class T>
  static Chunk chunk(Cpu&, const Op*, u64) {
    return {0, true};
  }
};

struct Movs {
  static constexpr bool compares = false;
  template <class T, class A, class Path>
  [[gnu::always_inline]] static bool step(Cpu& cpu, const Op* op) {
    T v;
    if (!load_source<T, A, Path>(cpu, op, v) || !store_destination<T, A, Path>(cpu, op, v)) return false;
    advance<T, A>(cpu, arch::rsi);
    advance<T, A>(cpu, arch::rdi);
    return true;
  }
  template <class T>
  static Chunk chunk(Cpu& cpu, const Op* op, u64 count) {
    const u64 from = cpu.seg_base[op->seg] + cpu.gpr[arch::rsi], to = cpu.gpr[arch::rdi];
    const u64 n = std::min({count, elements_in_page<T>(from), elements_in_page<T>(to)});
    if (n == 0) return {0, true};
    bool ok = true;
    const u8* const source = host_byte<Access::read>(cpu, op, from, ok);
    if (source == nullptr) return {0, ok};
    u8* const destination = host_byte<Access::write>(cpu, op, to, ok);
    if (destination == nullptr) return {0, ok};
    copy_upwards<T>(destination, source, n);
    advance<T, u64>(cpu, arch::rsi, n);
    advance<T, u64>(cpu, arch::rdi, n);
    return {n, true};
  }
};

struct Stos {
  static constexpr bool compares = false;
  template <class T, class A, class Path>
  [[gnu::always_inline]] static bool step(Cpu& cpu, const Op* op) {
    if (!store_destination<T, A, Path>(cpu, op, cpu.reg<T>(arch::rax))) return false;
    advance<T, A>(cpu, arch::rdi);
    return true;
  }
  template <class T>
  static Chunk chunk(Cpu& cpu, const Op* op, u64 count) {
    const u64 to = cpu.gpr[arch::rdi];
    const u64 n = std::min(count, elements_in_page<T>(to));
    if (n == 0) return {0, true};
    bool ok = true;
    u8* const destination = host_byte<Access::write>(cpu, op, to, ok);
    if (destination == nullptr) return {0, ok};
    fill<T>(destination, cpu.reg<T>(arch::rax), n);
    advance<T, u64>(cpu, arch::rdi, n);
    return {n, true};
  }
};

struct Lods : NoChunks {
  static constexpr bool compares = false;
  template <class T, class A, class Path>
  [[gnu::always_inline]] static bool step(Cpu& cpu, const Op* op) {
    T v;
    if (!load_source<T, A, Path>(cpu, op, v)) return false;
    cpu.set_reg<T>(arch::rax, v);
    advance<T, A>(cpu, arch::rsi);
    return true;
  }
};

/// Flags as CMP source, destination. Where both fault, it is the destination's fault: the manual has no word on it.
struct Cmps : NoChunks {
  static constexpr bool compares = true;
  template <class T, class A, class Path>
  [[gnu::always_inline]] static bool step(Cpu& cpu, const Op* op) {
    T a, b;
    if (!load_destination<T, A, Path>(cpu, op, b) || !load_source<T, A, Path>(cpu, op, a)) return false;
    cpu.flags.set_sub<T>(a, b, static_cast<T>(a - b));
    advance<T, A>(cpu, arch::rsi);
    advance<T, A>(cpu, arch::rdi);
    return true;
  }
};

/// Flags as CMP accumulator, destination.
struct Scas : NoChunks {
  static constexpr bool compares = true;
  template <class T, class A, class Path>
  [[gnu::always_inline]] static bool step(Cpu& cpu, const Op* op) {
    T b;
    if (!load_destination<T, A, Path>(cpu, op, b)) return false;
    const T a = cpu.reg<T>(arch::rax);
    cpu.flags.set_sub<T>(a, b, static_cast<T>(a - b));
    advance<T, A>(cpu, arch::rdi);
    return true;
  }
};

// ------------------------------------------------------------------------------------------------ handlers

template <class Body, class T, class A>
struct Once {
  template <class Path>
  [[gnu::always_inline]] static void run(Cpu& cpu, const Op* op) {
    if (!Body::template step<T, A, Path>(cpu, op)) return Path::template failed<Once>(cpu, op);
    CLOISTER_NEXT(cpu, op);
  }
};

enum class Outcome : u8 { done, more, faulted };

/// Work between two looks for interrupts, in elements; a chunk counts as many.
constexpr unsigned work_at_once = 1024, work_of_chunk = 32;

/// `op->aux`: the ZF that a repeated comparison goes on with. Where one that ends at equality faults, the flags are
/// again those before the instruction (SDM vol. 2B, REP).
template <class Body, class T, class A>
[[gnu::noinline]] Outcome repeat(Cpu& cpu, const Op* op) {
  unsigned work = 0;
  [[maybe_unused]] const auto flags = cpu.flags;
  // Single steps and data breakpoints trap after each element (SDM vol. 3B, 17.3.1).
  const bool traced = (cpu.system_flags & arch::rflags::tf) != 0 || (cpu.dr7 & arch::dr7::enable_mask) != 0;
  for (A count = cpu.reg<A>(arch::rcx); count != 0; count = cpu.reg<A>(arch::rcx)) {
    if (work >= (traced ? 1 : work_at_once)) return Outcome::more;
    Chunk c{0, true};
    if constexpr (sizeof(A) == 8) {
      if (!cpu.df && !traced) c = Body::template chunk<T>(cpu, op, count);
      if (!c.ok) return Outcome::faulted;
    }
    work += c.elements != 0 ? work_of_chunk : 1;
    if (c.elements == 0) {
      if (!Body::template step<T, A, Cold>(cpu, op)) {
        if (Body::compares && op->aux == 0) cpu.flags = flags;
        return Outcome::faulted;
      }
      c.elements = 1;
    }
    cpu.set_reg<A>(arch::rcx, static_cast<A>(count - c.elements));
    if (Body::compares && cpu.flags.zf() != (op->aux != 0)) return Outcome::done;
  }
  return Outcome::done;
}

template <class Body, class T, class A>
void repeated(Cpu& cpu, const Op* op) {
  const Outcome outcome = repeat<Body, T, A>(cpu, op);
  if (outcome == Outcome::faulted) return;
  if (outcome == Outcome::more) return part_done(cpu, op);
  CLOISTER_NEXT(cpu, op);
}

template <class A>
struct Xlat {
  template <class Path>
  [[gnu::always_inline]] static void run(Cpu& cpu, const Op* op) {
    const A offset = static_cast<A>(cpu.reg<A>(arch::rbx) + cpu.reg<u8>(arch::rax));
    u64 linear;
    if (!element_address<A>(cpu, op, op->seg, offset, 1, Access::read, linear)) return;
    u8 v;
    if (!Path::template load<u8>(cpu, op, linear, v)) return Path::template failed<Xlat>(cpu, op);
    cpu.set_reg<u8>(arch::rax, v);
    CLOISTER_NEXT(cpu, op);
  }
};

// ------------------------------------------------------------------------------------------------ selection

/// MOVSD and CMPSD with operands are SSE instructions.
template <class Body, class T>
Selected select_string(const Insn& insn, Op& op) {
  if (insn.visible() != 0) return {};
  op.seg = source_segment(insn);
  op.aux = !insn.repne();
  return {by_wide_size(insn.info.address_width, [&](auto a) -> Handler {
    using A = decltype(a);
    if (insn.rep() || insn.repne()) return &repeated<Body, T, A>;
    if constexpr (sizeof(A) == 8) {
      return hot<Once<Body, T, A>>;
    } else {
      return cold<Once<Body, T, A>>;
    }
  })};
}

Selected select_xlat(const Insn& insn, Op& op) {
  op.seg = source_segment(insn);
  return {by_wide_size(insn.info.address_width, [](auto a) -> Handler { return cold<Xlat<decltype(a)>>; })};
}

constexpr Row rows[] = {
    {ZYDIS_MNEMONIC_MOVSB, &select_string<Movs, u8>},
    {ZYDIS_MNEMONIC_MOVSW, &select_string<Movs, u16>},
    {ZYDIS_MNEMONIC_MOVSD, &select_string<Movs, u32>},
    {ZYDIS_MNEMONIC_MOVSQ, &select_string<Movs, u64>},
    {ZYDIS_MNEMONIC_CMPSB, &select_string<Cmps, u8>},
    {ZYDIS_MNEMONIC_CMPSW, &select_string<Cmps, u16>},
    {ZYDIS_MNEMONIC_CMPSD, &select_string<Cmps, u32>},
    {ZYDIS_MNEMONIC_CMPSQ, &select_string<Cmps, u64>},
    {ZYDIS_MNEMONIC_STOSB, &select_string<Stos, u8>},
    {ZYDIS_MNEMONIC_STOSW, &select_string<Stos, u16>},
    {ZYDIS_MNEMONIC_STOSD, &select_string<Stos, u32>},
    {ZYDIS_MNEMONIC_STOSQ, &select_string<Stos, u64>},
    {ZYDIS_MNEMONIC_LODSB, &select_string<Lods, u8>},
    {ZYDIS_MNEMONIC_LODSW, &select_string<Lods, u16>},
    {ZYDIS_MNEMONIC_LODSD, &select_string<Lods, u32>},
    {ZYDIS_MNEMONIC_LODSQ, &select_string<Lods, u64>},
    {ZYDIS_MNEMONIC_SCASB, &select_string<Scas, u8>},
    {ZYDIS_MNEMONIC_SCASW, &select_string<Scas, u16>},
    {ZYDIS_MNEMONIC_SCASD, &select_string<Scas, u32>},
    {ZYDIS_MNEMONIC_SCASQ, &select_string<Scas, u64>},
    {ZYDIS_MNEMONIC_XLAT, &select_xlat},
};

}  // namespace

std::span<const Row> string_rows() { return rows; }

}  // namespace cloister::silicon
