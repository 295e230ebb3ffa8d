# Compiler options that every target has.
add_library(cloister_options INTERFACE)
target_compile_options(cloister_options INTERFACE -Wall -Wextra -Wshadow -Wnon-virtual-dtor -Woverloaded-virtual
                                                  -Werror -march=x86-64-v2)
# Locks are used as they are declared (host/mutex.hpp); tests/rooms sees that these flags say so.
set(cloister_thread_safety -Wthread-safety -Wthread-safety-beta)
if(CMAKE_CXX_COMPILER_ID MATCHES Clang)
  target_compile_options(cloister_options INTERFACE ${cloister_thread_safety})
  # A program with sanitizers has 150 MB, and there are a hundred: LLVM's own linker takes a fifth of the time of binutils'.
  find_program(LLD ld.lld)
  if(LLD)
    target_link_options(cloister_options INTERFACE -fuse-ld=lld)
  else()
    message(STATUS "No ld.lld (package lld): programs are linked by binutils', which takes longer")
  endif()
endif()
# Says in GCC's preprocessed output which precompiled header was read, without which ccache keeps nothing.
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  target_compile_options(cloister_options INTERFACE -fpch-preprocess)
endif()
# Of rooms that say STRICT. By clang alone: the -Wconversion of GCC is another one, and warns of more.
set(cloister_strict $<$<CXX_COMPILER_ID:Clang>:-Wold-style-cast;-Wcast-qual;-Wconversion;-Wno-sign-conversion>)
target_include_directories(cloister_options INTERFACE ${PROJECT_SOURCE_DIR}/src)
# What an attacker would have to get past; of no use to sanitized builds, which find more.
add_library(cloister_hardening INTERFACE)
if(CMAKE_BUILD_TYPE STREQUAL "Release")
  target_compile_options(cloister_hardening INTERFACE -fstack-protector-strong -D_FORTIFY_SOURCE=2 -D_GLIBCXX_ASSERTIONS)
endif()
# Debian's compilers make position-independent programs unasked.
target_link_options(cloister_hardening INTERFACE -Wl,-z,relro,-z,now)
if(CLOISTER_THREADED)
  target_compile_definitions(cloister_options INTERFACE CLOISTER_THREADED)
endif()
