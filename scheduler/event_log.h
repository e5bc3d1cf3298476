// What happened lately, in sentences for people (`berth events`): nodes that come and go, jobs from submission to end,
// pods that did not end well, services that change, who changed what. Made from the journal's events as they are
// applied, kept in memory only, bounded: a restart begins anew, and the oldest go. Pure; the core's thread.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>

#include "state/cluster.h"
#include "state/events.h"
#include "state/requests.h"

namespace berth::scheduler {

class EventLog {
 public:
  static constexpr std::size_t kKept = 20'000;
  // Of one kind in one turn; more of them are one row that counts them. An array of a million that fails in a second
  // costs the core next to nothing so.
  static constexpr std::uint32_t kRowsPerTurn = 64;

  explicit EventLog(std::size_t kept = kKept) : most_(kept) {}

  // Each event is shown twice: while the cluster is still as before it, and when it has been applied. The batch that it
  // will be in gives it its number.
  void before(const state::Event& event, const state::Cluster& cluster);
  void after(const state::Event& event, const state::Cluster& cluster);
  void end_turn(std::uint64_t batch, state::TimeUs now);

  // What the caller may see: the administrator all, others what is theirs and what is nobody's.
  state::EventPage page(const state::ListEventsRequest& request, std::optional<std::uint32_t> only_uid) const;

 private:
  struct Entry {
    state::EventRow row;
    std::uint32_t uid = 0;
    bool for_all = false;
  };
  struct Many {  // in this turn
    std::uint32_t submitted = 0, ended = 0, pods = 0, readiness = 0;
  };

  void add(state::EventRow::Kind kind, std::string object, std::string text, bool warning, const state::Owner* owner);
  void add_job(const state::Job& job, std::string text, bool warning);
  void ended(const state::PodsEnded& event, const state::Cluster& cluster);
  void job_ended(const state::Job& job);
  void service_changed(const state::Service& service);

  const std::size_t most_;
  std::deque<Entry> kept_;
  std::uint64_t newest_ = 0;   // number of the newest row
  std::uint64_t dropped_ = 0;  // number of the newest row that went
  std::size_t fresh_ = 0;      // rows at the end that have no number yet
  Many many_;
  std::optional<state::ServiceStatus> old_status_;
  std::string old_name_;
};

}  // namespace berth::scheduler
