// Guest memory as handlers reach it: linear addresses, the inline TLB check, and the slow path behind it.
//
// Every function returns false if the access faulted or must exit; the fault is recorded and the handler returns at
// once, having changed nothing. A store that succeeds returns true even if it hit a page with cached blocks.
#pragma once

#include "silicon/memory/guest_bytes.hpp"
#include "silicon/state/cpu.hpp"
#include "silicon/state/op.hpp"

namespace cloister::silicon {

/// A value that may not have been available: two registers, no memory.
struct Maybe {
  u64 value;
  bool ok;
};

bool load_slow(Cpu& cpu, const Op* op, u64 linear, void* to, unsigned bytes);
bool store_slow(Cpu& cpu, const Op* op, u64 linear, const void* from, unsigned bytes);
/// Checks that [linear, linear + bytes) is writable and reads it: the first half of a read-modify-write.
bool load_for_store_slow(Cpu& cpu, const Op* op, u64 linear, void* to, unsigned bytes);
/// The host address of a writable operand for a host atomic. Null if it faulted; or if the instruction splits a lock
/// and must be done alone: then it leaves, and comes here again while the other processors are held (Leave::alone); or,
/// with `plainly` set, if load_for_store() and store() do the update, since nobody can come between.
void* host_for_atomic(Cpu& cpu, const Op* op, u64 linear, unsigned bytes, bool& plainly);
/// Mem::any: applies address size and segment limits; false: #GP(0) or #SS(0).
bool linear_any(Cpu& cpu, const Op* op, unsigned bytes, Access access, u64& linear);

constexpr u64 tlb_tag(u64 linear, unsigned bytes, u64 context) {
  return ((linear + bytes - 1) & ~arch::page_mask) | context;
}

template <class T>
[[gnu::always_inline]] inline bool load(Cpu& cpu, const Op* op, u64 linear, T& out) {
  const TlbEntry& e = cpu.tlb.at(linear);
  if (e.tag_read == tlb_tag(linear, sizeof(T), cpu.context)) [[likely]] {
    copy_guest(&out, reinterpret_cast<const void*>(e.addend + linear), sizeof(T));
    return true;
  }
  return load_slow(cpu, op, linear, &out, sizeof(T));
}

template <class T>
[[gnu::always_inline]] inline bool store(Cpu& cpu, const Op* op, u64 linear, const T& value) {
  const TlbEntry& e = cpu.tlb.at(linear);
  if (e.tag_write == tlb_tag(linear, sizeof(T), cpu.context)) [[likely]] {
    copy_guest(reinterpret_cast<void*>(e.addend + linear), &value, sizeof(T));
    return true;
  }
  return store_slow(cpu, op, linear, &value, sizeof(T));
}

/// Reads an operand that store() will write: a fault says W=1 (SDM vol. 3A, 4.7). The store() after it cannot fault.
template <class T>
[[gnu::always_inline]] inline bool load_for_store(Cpu& cpu, const Op* op, u64 linear, T& out) {
  const TlbEntry& e = cpu.tlb.at(linear);
  if (e.tag_write == tlb_tag(linear, sizeof(T), cpu.context)) [[likely]] {
    copy_guest(&out, reinterpret_cast<const void*>(e.addend + linear), sizeof(T));
    return true;
  }
  return load_for_store_slow(cpu, op, linear, &out, sizeof(T));
}

/// LOCK: old = *linear; *linear = f(old), atomically. f is called again if another processor was faster.
template <class T, class F>
[[gnu::always_inline]] inline bool atomic_update(Cpu& cpu, const Op* op, u64 linear, T& old, F&& f) {
  bool plainly = false;
  T* const host = static_cast<T*>(host_for_atomic(cpu, op, linear, sizeof(T), plainly));
  if (host == nullptr) return plainly && load_for_store(cpu, op, linear, old) && store<T>(cpu, op, linear, f(old));
  old = __atomic_load_n(host, __ATOMIC_RELAXED);
  while (!__atomic_compare_exchange_n(host, &old, f(old), false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED)) {
  }
  return true;
}

/// The linear address of the memory operand. Only Mem::any can fail.
template <Mem kind>
[[gnu::always_inline]] inline bool linear_of(Cpu& cpu, const Op* op, unsigned bytes, Access access, u64& linear) {
  if constexpr (kind == Mem::flat) {
    linear = cpu.gpr[op->base] + static_cast<u64>(static_cast<i64>(op->disp));
    return true;
  } else if constexpr (kind == Mem::full) {
    linear = cpu.gpr[op->base] + (cpu.gpr[op->index] << op->scale) + static_cast<u64>(static_cast<i64>(op->disp)) +
             cpu.seg_base[op->seg];
    return true;
  } else {
    return linear_any(cpu, op, bytes, access, linear);
  }
}

/// The memory operand's effective address without segment and limit: LEA. Any address size.
u64 effective_address(const Cpu& cpu, const Op* op, Mem kind);

}  // namespace cloister::silicon
