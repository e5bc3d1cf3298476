// The wire's decoder: no bytes may crash it, and what it accepts must survive a round trip.
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "api/wire/message.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  namespace wire = berth::wire;
  const auto message = wire::decode_message({reinterpret_cast<const std::byte*>(data), size});
  if (!message) return 0;
  const std::string frame = wire::encode_frame(*message);
  const auto back = wire::decode_message(std::as_bytes(std::span(frame)).subspan(4));
  if (!back || wire::encode_frame(*back) != frame) std::abort();
  return 0;
}
