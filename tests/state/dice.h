// Random numbers for tests: the same for the same seed, 32 bits wide.
#pragma once

#include <cstdint>
#include <random>

namespace berth::state::testing {

class Dice {
 public:
  explicit Dice(std::uint32_t seed) : engine_(seed) {}
  std::uint32_t operator()() { return static_cast<std::uint32_t>(engine_()); }

 private:
  std::mt19937 engine_;
};

}  // namespace berth::state::testing
