#include "state/outcome_table.h"

namespace berth::state {

const PodOutcome* OutcomeTable::find(std::uint32_t element) const {
  const std::size_t chunk = element / kChunk;
  const std::size_t place = element % kChunk;
  if (chunk >= chunks_.size() || !chunks_[chunk] || place >= chunks_[chunk]->size()) return nullptr;
  const PodOutcome& outcome = (*chunks_[chunk])[place];
  return outcome.state == PodState::kPending ? nullptr : &outcome;
}

PodOutcome& OutcomeTable::slot(std::uint32_t element) {
  const std::size_t chunk = element / kChunk;
  const std::size_t place = element % kChunk;
  if (chunk >= chunks_.size()) chunks_.resize(chunk + 1);
  if (!chunks_[chunk]) chunks_[chunk] = std::make_unique<std::vector<PodOutcome>>();
  if (place >= chunks_[chunk]->size()) chunks_[chunk]->resize(place + 1);
  return (*chunks_[chunk])[place];
}

}  // namespace berth::state
