#include "state/store/crc32c.h"

#include <array>
#include <cstring>

#if defined(__x86_64__)
#include <nmmintrin.h>
#endif

namespace berth::store {

namespace {

using Tables = std::array<std::array<std::uint32_t, 256>, 8>;

constexpr Tables make_tables() {
  constexpr std::uint32_t kPolynomial = 0x82F63B78U;
  Tables tables{};
  for (std::uint32_t i = 0; i < 256; ++i) {
    std::uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1U) != 0 ? kPolynomial : 0);
    tables[0][i] = crc;
  }
  for (std::size_t t = 1; t < tables.size(); ++t) {
    for (std::size_t i = 0; i < 256; ++i) tables[t][i] = (tables[t - 1][i] >> 8) ^ tables[0][tables[t - 1][i] & 0xFFU];
  }
  return tables;
}

constexpr Tables kTables = make_tables();

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) std::uint32_t by_instruction(std::span<const std::byte> bytes, std::uint32_t crc) {
  const std::byte* at = bytes.data();
  std::size_t left = bytes.size();
  std::uint64_t state = ~crc;
  for (; left >= 8; at += 8, left -= 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, at, 8);
    state = _mm_crc32_u64(state, word);
  }
  auto narrow = static_cast<std::uint32_t>(state);
  for (; left != 0; ++at, --left) narrow = _mm_crc32_u8(narrow, static_cast<unsigned char>(*at));
  return ~narrow;
}
#endif

using Way = std::uint32_t (*)(std::span<const std::byte>, std::uint32_t);

Way best_way() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("sse4.2") != 0) return by_instruction;
#endif
  return crc32c_by_table;
}

}  // namespace

std::uint32_t crc32c_by_table(std::span<const std::byte> bytes, std::uint32_t crc) {
  const std::byte* at = bytes.data();
  std::size_t left = bytes.size();
  std::uint32_t state = ~crc;
  for (; left >= 8; at += 8, left -= 8) {  // eight bytes a step, each through a table of its own
    std::array<std::uint8_t, 8> b{};
    std::memcpy(b.data(), at, 8);
    const std::array<std::uint8_t, 4> low = {static_cast<std::uint8_t>(state), static_cast<std::uint8_t>(state >> 8),
                                             static_cast<std::uint8_t>(state >> 16),
                                             static_cast<std::uint8_t>(state >> 24)};
    state = kTables[7][b[0] ^ low[0]] ^ kTables[6][b[1] ^ low[1]] ^ kTables[5][b[2] ^ low[2]] ^
            kTables[4][b[3] ^ low[3]] ^ kTables[3][b[4]] ^ kTables[2][b[5]] ^ kTables[1][b[6]] ^ kTables[0][b[7]];
  }
  for (; left != 0; ++at, --left) state = (state >> 8) ^ kTables[0][(state ^ static_cast<std::uint8_t>(*at)) & 0xFFU];
  return ~state;
}

std::uint32_t crc32c(std::span<const std::byte> bytes, std::uint32_t crc) {
  static const Way way = best_way();
  return way(bytes, crc);
}

}  // namespace berth::store
