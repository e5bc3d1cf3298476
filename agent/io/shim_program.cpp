// The shim's executable, carried in this binary's read-only data.
#include "agent/io/shim_launcher.h"

asm(".section .rodata\n"
    ".balign 16\n"
    ".global berth_shim_begin\n"
    ".global berth_shim_end\n"
    "berth_shim_begin:\n"
    ".incbin \"" BERTH_SHIM_FILE
    "\"\n"
    "berth_shim_end:\n"
    ".byte 0\n"
    ".previous\n");

extern "C" {
extern const char berth_shim_begin[];
extern const char berth_shim_end[];
}

namespace berth::agent {

std::string_view shim_program() {
  return {berth_shim_begin, static_cast<std::size_t>(berth_shim_end - berth_shim_begin)};
}

}  // namespace berth::agent
