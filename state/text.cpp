#include "state/text.h"

namespace berth::state {

std::string shown(std::string_view text) {
  constexpr std::size_t kShownMax = 64;
  std::string out = "'";
  for (const char c : text.substr(0, kShownMax)) out += static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? '?' : c;
  out += text.size() > kShownMax ? "…'" : "'";
  return out;
}

}  // namespace berth::state
