// What may be on its way of an exec's stream, counted at each of its stations: the side that sends stops when there is
// no room, the side that receives tells what it has dealt with, and the server between them holds both to it. So
// nobody's memory grows because somebody else does not read. Pure.
#pragma once

#include <cstddef>
#include <cstdint>

#include "state/exec.h"

namespace berth::wire {

// One direction, seen by who sends into it or passes on what is sent.
class ExecWindow {
 public:
  std::size_t room() const { return state::kExecWindowBytes - on_the_way_; }
  // False, and nothing is counted: more than there is room for.
  bool send(std::size_t bytes) {
    if (bytes > room()) return false;
    on_the_way_ += bytes;
    return true;
  }
  // False: more than is on its way.
  bool taken(std::size_t bytes) {
    if (bytes > on_the_way_) return false;
    on_the_way_ -= bytes;
    return true;
  }

 private:
  std::size_t on_the_way_ = 0;
};

// The same direction, seen by who receives: not every few bytes are worth a message of their own.
class ExecTaken {
 public:
  // Adds what was dealt with, and returns what the sender is to be told now; 0: nothing yet.
  std::uint32_t add(std::size_t bytes) {
    untold_ += static_cast<std::uint32_t>(bytes);
    if (untold_ < kTellBytes) return 0;
    const std::uint32_t told = untold_;
    untold_ = 0;
    return told;
  }
  // A sender that uses half of its room at most between two words of ours never waits for one.
  static constexpr std::uint32_t kTellBytes = state::kExecWindowBytes / 4;

 private:
  std::uint32_t untold_ = 0;
};

}  // namespace berth::wire
