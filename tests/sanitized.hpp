// Whether a sanitizer that has its own address space is part of this program: rooms may be built with one where their
// tests are not, so that the compiler's macros say nothing here.
#pragma once

extern "C" {
__attribute__((weak)) void __asan_init();
__attribute__((weak)) void __tsan_init();
}

namespace cloister {

inline bool is_sanitized() { return &__asan_init != nullptr || &__tsan_init != nullptr; }

}  // namespace cloister
