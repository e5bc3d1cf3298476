// Columns of 64 rounded amounts (rounded_cpu(), rounded_mem()), compared all at once: one bit of a word for each.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace berth::placement {

inline constexpr std::size_t kColumn = 64;
using Column = std::array<std::int16_t, kColumn>;

// Bit i: place i may hold the demand. SSE2, which every x86-64 has, and inlined: a call to an AVX2 version chosen at
// run time costs more than the wider registers save on so few elements.
inline std::uint64_t fitting(const Column& cpu, const Column& mem, std::int16_t wanted_cpu, std::int16_t wanted_mem) {
#if defined(__SSE2__)
  const __m128i cpu_wanted = _mm_set1_epi16(wanted_cpu), mem_wanted = _mm_set1_epi16(wanted_mem);
  const auto load = [](const Column& column, std::size_t i) {
    return _mm_load_si128(reinterpret_cast<const __m128i*>(column.data() + i));
  };
  const auto lacks = [&](std::size_t i) {
    return _mm_or_si128(_mm_cmpgt_epi16(cpu_wanted, load(cpu, i)), _mm_cmpgt_epi16(mem_wanted, load(mem, i)));
  };
  std::uint64_t lacking = 0;
  for (std::size_t i = 0; i < kColumn; i += 16) {
    const int sixteen = _mm_movemask_epi8(_mm_packs_epi16(lacks(i), lacks(i + 8)));
    lacking |= static_cast<std::uint64_t>(static_cast<std::uint32_t>(sixteen)) << i;
  }
  return ~lacking;
#else
  std::uint64_t bits = 0;
  for (std::size_t i = 0; i < kColumn; ++i) {
    bits |= static_cast<std::uint64_t>((cpu[i] >= wanted_cpu) & (mem[i] >= wanted_mem)) << i;
  }
  return bits;
#endif
}

}  // namespace berth::placement
