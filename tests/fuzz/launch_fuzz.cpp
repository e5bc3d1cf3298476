// The launch decoder and the output patterns on any bytes.
#include <cstdint>
#include <cstdlib>
#include <span>

#include "state/launch.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace berth::state;
  const std::string text(reinterpret_cast<const char*>(data), size);
  static_cast<void>(expand_path(text, {1, 2, "node", "user", text}));
  const auto launch = decode_launch(std::as_bytes(std::span(data, size)));
  if (!launch) return 0;
  const std::string once = encode_launch(*launch);
  const auto again = decode_launch(std::as_bytes(std::span(once)));
  if (!again || !(*again == *launch)) std::abort();
  return 0;
}
