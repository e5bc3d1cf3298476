# berth_room(NAME DIRS... ) makes the static library berth_NAME of every .cpp below the directories given,
# with includes from the project's root. Link what a room may include with target_link_libraries.
function(berth_room name)
  set(sources)
  foreach(dir IN LISTS ARGN)
    file(GLOB found CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/${dir}/*.cpp)
    list(APPEND sources ${found})
  endforeach()
  add_library(berth_${name} STATIC ${sources})
  target_include_directories(berth_${name} PUBLIC ${PROJECT_SOURCE_DIR} ${PROJECT_BINARY_DIR}/generated)
endfunction()

# berth_tests(NAME LIBS...) makes one test program of every *_test.cpp in the directory tests/NAME; ctest names them
# NAME.Suite.Test and labels them `unit`.
function(berth_tests name)
  file(GLOB found CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/${name}/*_test.cpp)
  if(NOT found)
    return()
  endif()
  add_executable(${name}_tests ${found})
  target_link_libraries(${name}_tests PRIVATE ${ARGN} GTest::gtest GTest::gmock GTest::gtest_main)
  gtest_discover_tests(${name}_tests TEST_PREFIX ${name}. PROPERTIES LABELS unit DISCOVERY_TIMEOUT 60)
endfunction()
