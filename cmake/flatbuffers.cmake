# berth_schema(TARGET FILE.fbs [INCLUDED.fbs...]) generates generated/<dir>/<name>_generated.h and adds it to TARGET.
find_program(BERTH_FLATC flatc REQUIRED)
function(berth_schema target schema)
  get_filename_component(dir ${schema} DIRECTORY)
  get_filename_component(base ${schema} NAME_WE)
  set(out ${PROJECT_BINARY_DIR}/generated/${dir}/${base}_generated.h)
  set(includes)
  foreach(dep IN LISTS ARGN)
    list(APPEND includes ${PROJECT_SOURCE_DIR}/${dep})
  endforeach()
  add_custom_command(
    OUTPUT ${out}
    COMMAND ${BERTH_FLATC} --cpp --cpp-std c++17 --scoped-enums -I ${PROJECT_SOURCE_DIR} --keep-prefix
            -o ${PROJECT_BINARY_DIR}/generated/${dir} ${PROJECT_SOURCE_DIR}/${schema}
    DEPENDS ${PROJECT_SOURCE_DIR}/${schema} ${includes}
    COMMENT "flatc ${schema}")
  target_sources(${target} PRIVATE ${out})
  # A generated header is foreign code: our warnings are not for it.
  target_include_directories(${target} SYSTEM PUBLIC ${PROJECT_BINARY_DIR}/generated)
endfunction()
