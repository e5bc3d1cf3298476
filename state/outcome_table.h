// OutcomeTable: how the ended elements of a job ended. In chunks that exist only where something ended, so that an
// array pays for what ran and a single job for one outcome.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "state/records.h"

namespace berth::state {

class OutcomeTable {
 public:
  const PodOutcome* find(std::uint32_t element) const;  // nullptr if it has not ended
  PodOutcome& slot(std::uint32_t element);              // makes the chunk if needed
  // Calls f(element, outcome) in ascending order for elements >= from; stops when f returns false.
  template <class F>
  void each(std::uint32_t from, F&& f) const {
    for (std::size_t c = from / kChunk; c < chunks_.size(); ++c) {
      if (!chunks_[c]) continue;
      for (std::uint32_t i = 0; i < chunks_[c]->size(); ++i) {
        const auto element = static_cast<std::uint32_t>(c * kChunk + i);
        const PodOutcome& outcome = (*chunks_[c])[i];
        if (element >= from && outcome.state != PodState::kPending && !f(element, outcome)) return;
      }
    }
  }

 private:
  static constexpr std::uint32_t kChunk = 256;
  // A chunk grows to kChunk by doubling.
  std::vector<std::unique_ptr<std::vector<PodOutcome>>> chunks_;
};

}  // namespace berth::state
