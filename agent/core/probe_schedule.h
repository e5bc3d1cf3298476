// ProbeSchedule: when each pod is asked by its probes, and what the answers mean. Time and answers are arguments; what
// to do comes back as actions. Pure.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <variant>
#include <vector>

#include "state/launch.h"
#include "state/services.h"

namespace berth::agent {

enum class ProbeRole : std::uint8_t { kStart = 0, kReady = 1, kLive = 2 };
std::string_view name_of(ProbeRole role);  // "start-up", "readiness", "liveness"

struct ProbeAnswer {
  bool good = false;
  std::string message;  // what was asked and what came of it, "GET http://…: connection refused"
};

struct AskPod {  // on_answer() follows
  state::PodRef ref;
  ProbeRole role = ProbeRole::kReady;
  state::Probe probe;
  std::string address;  // the pod's own; "": it is on the node's network
};
struct TellReadiness {
  state::PodReadiness readiness;
};
struct EndUnhealthy {  // it is to be stopped, and has failed
  state::PodRef ref;
  std::string why;
};
using ProbeAction = std::variant<AskPod, TellReadiness, EndUnhealthy>;

// What of a pod matters here.
struct WatchedPod {
  state::PodRef ref;
  std::optional<state::Probe> start, ready, live;
  std::string address;
  bool report = false;   // tell when it is ready and when not
  bool adopted = false;  // it ran under another agent: whether it is ready is not known until it is asked
  state::TimeUs started_at = 0;
};

// A pod is not ready until its start-up probe, then its readiness probe has said so; at once if it has neither. A probe
// is asked again `period` after it was asked, but never while an answer is outstanding.
class ProbeSchedule {
 public:
  using Actions = std::vector<ProbeAction>;

  void add(WatchedPod pod, state::TimeUs now, Actions& out);
  void remove(const state::PodRef& ref);
  void on_answer(const state::PodRef& ref, ProbeRole role, const ProbeAnswer& answer, state::TimeUs now, Actions& out);
  void on_tick(state::TimeUs now, Actions& out);
  std::optional<state::TimeUs> next_deadline() const;
  // Of all pods whose readiness is known and told, for after a reconnection.
  std::vector<state::PodReadiness> readiness() const;
  std::size_t size() const { return pods_.size(); }

 private:
  struct Asking {
    state::TimeUs due = 0;  // 0: not to be asked, or an answer is outstanding
    state::TimeUs asked_at = 0;
    std::uint32_t good = 0, bad = 0;  // in a row
  };
  struct Entry {
    WatchedPod pod;
    Asking asking[3];
    bool started = false;       // the start-up probe is through
    std::optional<bool> ready;  // as it was told
    bool ended = false;         // told to end
    std::string message;
  };
  using Key = std::tuple<state::TimeUs, state::PodRef, std::uint8_t>;

  static const std::optional<state::Probe>& probe_of(const Entry& entry, ProbeRole role);
  void arm(const state::PodRef& ref, Entry& entry, ProbeRole role, state::TimeUs at);
  void begin(const state::PodRef& ref, Entry& entry, state::TimeUs now, Actions& out);
  void set_ready(Entry& entry, bool ready, std::string message, Actions& out);
  void end(Entry& entry, ProbeRole role, const std::string& why, Actions& out);

  std::map<state::PodRef, Entry> pods_;
  std::set<Key> due_;
};

}  // namespace berth::agent
