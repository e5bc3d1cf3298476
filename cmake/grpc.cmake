# berth_grpc: gRPC and protobuf with everything below them, from the distribution's static archives. Linked as shared
# objects they would cost every start of every command the time to load two dozen libraries (docs/adr/016), and bring a
# second OpenSSL into the process beside ours.
find_program(BERTH_PROTOC protoc REQUIRED)
find_program(BERTH_GRPC_PLUGIN grpc_cpp_plugin REQUIRED)
pkg_check_modules(GRPC REQUIRED grpc++ protobuf)

add_library(berth_grpc INTERFACE)
set(archives)
foreach(name IN LISTS GRPC_STATIC_LIBRARIES)
  if(name MATCHES "^(ssl|crypto|dl|pthread|rt|m)$")
    continue()
  endif()
  find_library(BERTH_ARCHIVE_${name} NAMES lib${name}.a)
  if(BERTH_ARCHIVE_${name})
    list(APPEND archives ${BERTH_ARCHIVE_${name}})
  elseif(NOT name STREQUAL "atomic")
    message(FATAL_ERROR "gRPC needs lib${name}.a, and there is none")
  endif()
endforeach()
list(REMOVE_DUPLICATES archives)
target_include_directories(berth_grpc SYSTEM INTERFACE ${GRPC_INCLUDE_DIRS})
# In a group: they need one another in no order that fits on a line.
target_link_libraries(berth_grpc INTERFACE -Wl,--start-group ${archives} -Wl,--end-group OpenSSL::SSL OpenSSL::Crypto
                                           Threads::Threads ${CMAKE_DL_LIBS} rt m)

# berth_proto(TARGET FILE.proto): generates the messages and stubs of a .proto file and adds them to TARGET.
function(berth_proto target proto)
  get_filename_component(dir ${proto} DIRECTORY)
  get_filename_component(base ${proto} NAME_WE)
  set(stem ${PROJECT_BINARY_DIR}/generated/${dir}/${base})
  add_custom_command(
    OUTPUT ${stem}.pb.cc ${stem}.pb.h ${stem}.grpc.pb.cc ${stem}.grpc.pb.h
    COMMAND ${BERTH_PROTOC} --proto_path=${PROJECT_SOURCE_DIR} --cpp_out=${PROJECT_BINARY_DIR}/generated
            --grpc_out=${PROJECT_BINARY_DIR}/generated --plugin=protoc-gen-grpc=${BERTH_GRPC_PLUGIN}
            ${PROJECT_SOURCE_DIR}/${proto}
    DEPENDS ${PROJECT_SOURCE_DIR}/${proto}
    COMMENT "protoc ${proto}")
  target_sources(${target} PRIVATE ${stem}.pb.cc ${stem}.grpc.pb.cc ${stem}.pb.h ${stem}.grpc.pb.h)
  # Foreign code: our warnings are not for it.
  set_source_files_properties(${stem}.pb.cc ${stem}.grpc.pb.cc PROPERTIES COMPILE_OPTIONS "-w")
  target_include_directories(${target} SYSTEM PRIVATE ${PROJECT_BINARY_DIR}/generated)
endfunction()
