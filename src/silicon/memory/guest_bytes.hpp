// Plain accesses to guest memory. Processors and devices access it at the same time, as those of a real machine do, and
// the order that they see is the host's (both are x86). This is the one place where the thread sanitizer is told so.
#pragma once

#include <cstring>

#include "arch/types.hpp"

namespace cloister::silicon {

#if defined(__SANITIZE_THREAD__)
#define CLOISTER_GUEST_RACES [[gnu::noinline, gnu::no_sanitize("thread")]] inline
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define CLOISTER_GUEST_RACES [[gnu::noinline, gnu::no_sanitize("thread")]] inline
#endif
#endif

#if defined(CLOISTER_GUEST_RACES)
/// Also where `to` lies before `from` and they overlap.
CLOISTER_GUEST_RACES void move_guest(void* to, const void* from, std::size_t bytes) {
  volatile u8* const out = static_cast<volatile u8*>(to);  // or it would become a call to the sanitizer's memcpy
  const u8* const in = static_cast<const u8*>(from);
  for (std::size_t i = 0; i < bytes; ++i) out[i] = in[i];
}
inline void copy_guest(void* to, const void* from, std::size_t bytes) { move_guest(to, from, bytes); }
CLOISTER_GUEST_RACES void fill_guest(void* to, u8 byte, std::size_t bytes) {
  volatile u8* const out = static_cast<volatile u8*>(to);
  for (std::size_t i = 0; i < bytes; ++i) out[i] = byte;
}
#undef CLOISTER_GUEST_RACES
#else
[[gnu::always_inline]] inline void copy_guest(void* to, const void* from, std::size_t bytes) {
  std::memcpy(to, from, bytes);
}
/// Also where `to` lies before `from` and they overlap.
inline void move_guest(void* to, const void* from, std::size_t bytes) { std::memmove(to, from, bytes); }
inline void fill_guest(void* to, u8 byte, std::size_t bytes) { std::memset(to, byte, bytes); }
#endif

}  // namespace cloister::silicon
