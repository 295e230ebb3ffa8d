# Compiler options that every target has.
add_library(cloister_options INTERFACE)
target_compile_options(cloister_options INTERFACE -Wall -Wextra -Wshadow -Wnon-virtual-dtor -Woverloaded-virtual
                                                  -Werror -march=x86-64-v2)
target_include_directories(cloister_options INTERFACE ${PROJECT_SOURCE_DIR}/src)
if(CLOISTER_THREADED)
  target_compile_definitions(cloister_options INTERFACE CLOISTER_THREADED)
endif()
