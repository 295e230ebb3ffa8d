# Files that are compiled as one: few enough that two cores share a room, and that a change costs seconds.
set(cloister_batch 16)
# What nearly every file reads of the standard library and of others, read once for all targets of a kind: those with the same
# options, which the compilers hold a precompiled header to.
set(cloister_precompiled <atomic> <functional> <map> <memory> <optional> <span> <string> <string_view> <vector> <tl/expected.hpp>)
function(cloister_precompile kind)
  cmake_parse_arguments(PRE "" "" "OPTIONS;NEEDS;HEADERS" ${ARGN})
  set(empty ${CMAKE_BINARY_DIR}/precompiled/${kind}.cpp)
  file(CONFIGURE OUTPUT ${empty} CONTENT "")
  add_library(precompiled_${kind} OBJECT ${empty})
  target_link_libraries(precompiled_${kind} PRIVATE cloister_options ${PRE_NEEDS})
  target_compile_options(precompiled_${kind} PRIVATE ${PRE_OPTIONS})
  target_precompile_headers(precompiled_${kind} PRIVATE ${PRE_HEADERS} ${cloister_precompiled})
endfunction()
# A room of the source tree is a static library of all its .cpp files. PUBLIC: the rooms and libraries below it that its
# headers name; PRIVATE: those that only its .cpp files name. tests/rooms/check_rooms.py reads these lines, and sees that
# includes keep to them. FAST: its loops are too hot for checks that an attacker would have to get past. STRICT: clang
# lets it have no conversion that may lose something, and no cast that does not say what it does. UNITY: its files are short,
# and what they include is long, so several are compiled as one; names of their own must differ within the room, but for
# the files that ALONE names.
function(cloister_room name)
  cmake_parse_arguments(ROOM "FAST;STRICT;UNITY" "" "PUBLIC;PRIVATE;ALONE" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/${name}/*.cpp)
  if(NOT sources)
    add_library(${name} INTERFACE)
    target_link_libraries(${name} INTERFACE cloister_options ${ROOM_PUBLIC})
    return()
  endif()
  add_library(${name} STATIC ${sources})
  target_link_libraries(${name} PUBLIC cloister_options ${ROOM_PUBLIC} PRIVATE ${ROOM_PRIVATE})
  if(ROOM_STRICT)
    target_compile_options(${name} PRIVATE "${cloister_strict}")
  endif()
  if(ROOM_UNITY AND CLOISTER_UNITY)
    set_target_properties(${name} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE ${cloister_batch})
    list(TRANSFORM ROOM_ALONE PREPEND ${CMAKE_CURRENT_SOURCE_DIR}/${name}/)
    set_source_files_properties(${ROOM_ALONE} PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
  endif()
  if(NOT ROOM_FAST)
    target_link_libraries(${name} PRIVATE cloister_hardening)
  endif()
  if(ROOM_FAST)
    set(kind fast)
  elseif(name IN_LIST toolstack)
    set(kind toolstack)
    target_compile_options(${name} PRIVATE ${cloister_patient})
    target_link_libraries(${name} PRIVATE fmt::fmt)  # of which the precompiled header is
  else()
    set(kind rooms)
  endif()
  target_precompile_headers(${name} REUSE_FROM precompiled_${kind})
endfunction()

# A folder of a room, and the folders of the same room that its files may include: tests/rooms/check_rooms.py reads these
# lines and holds includes to them. The build does not need them.
function(cloister_layer room name)
endfunction()

# One test program for each folder tests/KIND/NAME; KIND is also its ctest label. Test code runs briefly, so what counts is
# how long it takes to compile: it is not optimised, unless it is SLOW, which says that it runs long or holds inline
# functions that the processor's speed depends on. UNITY and ALONE: as for a room. ctest's limit is for a test that hangs:
# what a test does is bounded by its work, so that a slow host only takes longer.
function(cloister_tests kind name)
  cmake_parse_arguments(TESTS "SLOW;UNITY" "TIMEOUT" "NEEDS;DEFINES;ALONE;ENGINES" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/${kind}/${name}/*.cpp)
  if(CLOISTER_TESTS_WITH)
    foreach(test IN LISTS sources)
      file(STRINGS ${test} found LIMIT_COUNT 1 REGEX "${CLOISTER_TESTS_WITH}")
      if(NOT found AND test MATCHES "_test\\.cpp$")
        list(REMOVE_ITEM sources ${test})
      endif()
    endforeach()
  endif()
  if(NOT sources)
    return()
  endif()
  set(target ${kind}_${name})
  add_executable(${target} ${sources})
  if(TESTS_UNITY AND CLOISTER_UNITY)
    set_target_properties(${target} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE ${cloister_batch})
    list(TRANSFORM TESTS_ALONE PREPEND ${CMAKE_CURRENT_SOURCE_DIR}/${kind}/${name}/)
    set_source_files_properties(${TESTS_ALONE} PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
  endif()
  target_link_libraries(${target} PRIVATE cloister_options ${TESTS_NEEDS} GTest::gtest GTest::gmock GTest::gtest_main)
  target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR}/tests)
  if(TESTS_SLOW)
    target_precompile_headers(${target} REUSE_FROM precompiled_slow)
  else()
    target_precompile_headers(${target} REUSE_FROM precompiled_tests)
    target_compile_options(${target} PRIVATE -O0)
  endif()
  # GCC 12 takes temporaries with a std::string, and what the sanitizers add, for reads of uninitialised values.
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    target_compile_options(${target} PRIVATE -Wno-maybe-uninitialized)
  endif()
  target_compile_definitions(${target} PRIVATE CLOISTER_SOURCE_DIR="${PROJECT_SOURCE_DIR}" CLOISTER_BINARY_DIR="${PROJECT_BINARY_DIR}" ${TESTS_DEFINES})
  if(NOT TESTS_TIMEOUT)
    set(TESTS_TIMEOUT 1800)
  endif()
  gtest_discover_tests(${target} DISCOVERY_MODE PRE_TEST DISCOVERY_TIMEOUT 120 PROPERTIES LABELS ${kind} TIMEOUT ${TESTS_TIMEOUT})
  # Once more on each engine (tests/engine_under_test.hpp), where builds are fast, and but for what the host's clock judges.
  if(NOT CLOISTER_THREADED)
    set(TESTS_ENGINES)
  endif()
  foreach(engine IN LISTS TESTS_ENGINES)
    gtest_discover_tests(${target} DISCOVERY_MODE PRE_TEST DISCOVERY_TIMEOUT 120 TEST_PREFIX ${engine}. TEST_FILTER -HostClock.* TEST_LIST ${target}_${engine}
                         PROPERTIES LABELS ${kind} TIMEOUT ${TESTS_TIMEOUT} ENVIRONMENT CLOISTER_ENGINE=${engine})
  endforeach()
endfunction()
