option(BERTH_TESTS "build the unit tests" ON)
option(BERTH_BENCH "build the micro benchmarks" ON)
option(BERTH_FUZZ "build the fuzzers (clang only)" OFF)
option(BERTH_UNITY "compile some files of a room at once: a whole build takes a third of the time, a changed file more" OFF)
set(BERTH_SANITIZE "" CACHE STRING "sanitizers to build with: address,undefined or thread")

add_compile_options(-Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wno-sign-conversion -fno-omit-frame-pointer)
if(CMAKE_BUILD_TYPE STREQUAL "Release")
  add_compile_options(-O2)
endif()
if(BERTH_SANITIZE)
  add_compile_options(-fsanitize=${BERTH_SANITIZE} -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${BERTH_SANITIZE})
endif()
if(BERTH_SANITIZE STREQUAL "thread" AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  add_compile_options(-Wno-tsan)  # Boost.Asio's fences: nothing of ours
endif()
if(BERTH_FUZZ)
  if(NOT CMAKE_CXX_COMPILER_ID MATCHES "Clang")
    message(FATAL_ERROR "BERTH_FUZZ needs clang; use the preset: cmake --preset fuzz")
  endif()
  add_compile_options(-fsanitize=fuzzer-no-link)
endif()

add_link_options(-Wl,--gc-sections)  # of OpenSSL, what is used

# mold and ccache make a developer's rebuild quick; neither is required.
find_program(BERTH_MOLD mold)
if(BERTH_MOLD)
  add_link_options(-fuse-ld=mold)
endif()
find_program(BERTH_CCACHE ccache)
if(BERTH_CCACHE)
  set(CMAKE_C_COMPILER_LAUNCHER ${BERTH_CCACHE})
  set(CMAKE_CXX_COMPILER_LAUNCHER ${BERTH_CCACHE})
endif()

# Helpers of the same name in two files of a room would meet: they are named apart, or shared.
if(BERTH_UNITY)
  set(CMAKE_UNITY_BUILD ON)
  set(CMAKE_UNITY_BUILD_BATCH_SIZE 7)
endif()
