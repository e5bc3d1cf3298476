// Stopped to run again, or to make room for others: requeueing by hand, and jobs of a higher tier that take the room of
// those of a lower one.
#include <algorithm>
#include <limits>
#include <tuple>

#include "scheduler/core_impl.h"
#include "scheduler/core_text.h"

namespace berth::scheduler {

using namespace state;

namespace {

constexpr std::size_t kCandidatesMax = 1'024;  // looked at for one job
constexpr TimeUs kRest = 1'000'000;
constexpr std::uint32_t kTriesAPass = 16;
constexpr std::size_t kTriedMax = 10'000;
constexpr std::uint32_t kPodsAtOnceMax = 256;  // of an array that room is made for at once

}  // namespace

// ---- by hand --------------------------------------------------------------------------------------------------------

void Core::Impl::on_request(ClientCommand& command, JobRequeueRequest& request) {
  const Job* job = find_job(command, request.job);
  if (job == nullptr) return;
  const std::string name = "job " + std::to_string(request.job.value);
  const auto refused = [&](const std::string& why) {
    refuse(command.reply_to, ErrorCode::kConflict, "job", name + " " + why);
  };
  if (job->spec.is_step()) return refused("is a step, and is not run again");
  if (!job->active()) return refused("has already ended");
  if (job->counts.live() == 0) return refused("waits already");
  if (job->spec.kind == JobKind::kGang && job->counts.active() != job->spec.elements.size()) {
    return refused("is a gang of which some pods have ended: it cannot be run again");
  }
  if (request.hold) {
    JobChanged changed;
    changed.job = job->id;
    changed.hold = command.caller.admin && command.caller.uid != job->owner.uid ? Hold::kAdmin : Hold::kUser;
    dispatcher_.forget(job->id);
    emit(std::move(changed));
    enqueue(*job);
  }
  std::vector<PodStop> stops;
  for (const PodId& id : live_pods_of(*job)) {
    const Pod& pod = *cluster_.pod(id);
    if (!pod.stopping) stops.push_back({pod.ref, PodState::kPending});
  }
  if (!steps_.empty()) end_steps(*job);
  stop_pods(std::move(stops));
  reply(command.reply_to, Ok{});
}

std::vector<PodId> Core::Impl::live_pods_of(const Job& job) const {
  std::vector<PodId> live;
  if (job.spec.elements.size() <= cluster_.live_pods().size()) {
    for (std::uint32_t e = 0; e < job.spec.elements.size(); ++e) {
      if (cluster_.pod({job.id, e}) != nullptr) live.push_back({job.id, e});
    }
    return live;
  }
  for (const auto& [id, pod] : cluster_.live_pods()) {
    if (id.job == job.id) live.push_back(id);
  }
  std::sort(live.begin(), live.end());
  return live;
}

// ---- tiers ----------------------------------------------------------------------------------------------------------

std::int32_t Core::Impl::tier_of(const JobSpec& spec) const {
  const auto queue = cluster_.queues().find(spec.queue);
  const auto qos = cluster_.qos().find(spec.qos);
  return (queue == cluster_.queues().end() ? 0 : queue->second.tier) +
         (qos == cluster_.qos().end() ? 0 : qos->second.tier);
}

Preempt Core::Impl::preempt_of(const JobSpec& spec) const {
  const auto qos = cluster_.qos().find(spec.qos);
  if (qos != cluster_.qos().end() && qos->second.preempt != Preempt::kAsQueue) return qos->second.preempt;
  const auto queue = cluster_.queues().find(spec.queue);
  return queue == cluster_.queues().end() ? Preempt::kOff : queue->second.preempt;
}

// Which live pods may have to go, by tier: followed where events are applied, made anew when queues or qualities
// change.
void Core::Impl::find_preemptable() {
  preemptable_.clear();
  tell_lowest();
  const auto may = [](const auto& entry) {
    return entry.second.preempt == Preempt::kRequeue || entry.second.preempt == Preempt::kCancel;
  };
  preempts_ = std::any_of(cluster_.queues().begin(), cluster_.queues().end(), may) ||
              std::any_of(cluster_.qos().begin(), cluster_.qos().end(), may);
  if (!preempts_) return;
  for (const auto& [id, pod] : cluster_.live_pods()) note_preemptable(id, true);
}

void Core::Impl::note_preemptable(const PodId& id, bool live) {
  const Job& job = *cluster_.job(id.job);
  if (job.spec.is_step() || preempt_of(job.spec) == Preempt::kOff) return;
  const std::int32_t tier = tier_of(job.spec);
  if (live) {
    preemptable_[tier].insert(id);
  } else if (const auto pods = preemptable_.find(tier); pods != preemptable_.end()) {
    pods->second.erase(id);
    if (pods->second.empty()) preemptable_.erase(pods);
  }
  tell_lowest();
}

void Core::Impl::tell_lowest() {
  dispatcher_.set_lowest_preemptable(preemptable_.empty() ? std::numeric_limits<std::int32_t>::max()
                                                          : preemptable_.begin()->first);
}

void Core::Impl::follow_preemptable(const Event& event) {
  if (const auto* ended = std::get_if<PodsEnded>(&event); ended != nullptr && !preempted_.empty()) {
    for (const PodEnd& end : ended->ends) {
      if (preempted_.erase(end.ref.pod) == 0) continue;
      for (auto it = making_room_.begin(); it != making_room_.end();) {
        it->second.erase(end.ref.pod);
        it = it->second.empty() ? making_room_.erase(it) : std::next(it);
      }
    }
  }
  if (!preempts_) return;
  if (const auto* bound = std::get_if<PodsBound>(&event)) {
    for (const Bind& bind : bound->binds) note_preemptable(bind.ref.pod, true);
  } else if (const auto* adopted = std::get_if<PodsAdopted>(&event)) {
    for (const auto& pod : adopted->pods) note_preemptable(pod.ref.pod, true);
  } else if (const auto* ended = std::get_if<PodsEnded>(&event)) {
    for (const PodEnd& end : ended->ends) note_preemptable(end.ref.pod, false);
  }
}

// ---- making room ----------------------------------------------------------------------------------------------------

// What may go for the job, what costs least first: the lowest tier, then the lowest priority, then what started last. A
// gang goes as a whole.
std::vector<Core::Impl::Victim> Core::Impl::victims_for(const Job& job) const {
  const std::int32_t tier = tier_of(job.spec);
  std::vector<Victim> victims;
  std::map<JobId, std::size_t> gangs;
  for (const auto& [of, ids] : preemptable_) {
    if (of >= tier) break;
    for (const PodId& id : ids) {
      const Job& other = *cluster_.job(id.job);
      const Pod& pod = *cluster_.pod(id);
      if (pod.stopping || held_ends_.contains(other.id)) continue;
      const bool gang = other.spec.kind == JobKind::kGang;
      const Preempt how = preempt_of(other.spec);
      // A gang that is not whole could not be run again.
      if (gang && how == Preempt::kRequeue && other.counts.active() != other.spec.elements.size()) continue;
      if (gang) {
        if (const auto at = gangs.find(other.id); at != gangs.end()) {
          victims[at->second].pods.push_back(id);
          continue;
        }
      }
      if (victims.size() == kCandidatesMax) break;
      if (gang) gangs.emplace(other.id, victims.size());
      victims.push_back({of, priority_of(other), pod.bound_at, how, {id}});
    }
  }
  // A gang of which some are being stopped already does not go as a whole.
  std::erase_if(victims, [&](const Victim& victim) {
    const Job& other = *cluster_.job(victim.pods[0].job);
    return other.spec.kind == JobKind::kGang && victim.pods.size() != other.counts.live();
  });
  std::stable_sort(victims.begin(), victims.end(), [](const Victim& a, const Victim& b) {
    return std::tuple(a.tier, a.priority, -a.since) < std::tuple(b.tier, b.priority, -b.since);
  });
  return victims;
}

void Core::Impl::lift(const Victim& victim, bool away) {
  for (const PodId& id : victim.pods) {
    const Pod& pod = *cluster_.pod(id);
    const Request& request = cluster_.job(id.job)->spec.request;
    if (away) {
      engine_.release(pod.node, request, pod.gpu_mask, cluster_.pinning(id));
    } else {
      engine_.claim(pod.node, request, pod.gpu_mask, cluster_.pinning(id));
    }
  }
}

// How many of so many pods of the class have room now; of a gang all or none. Nothing stays claimed.
std::uint32_t Core::Impl::fitting(const ClassKey& key, std::uint32_t pods) {
  std::vector<placement::Placed> places;
  if (key.gang != 0) {
    if (!engine_.place_gang(key.request, key.gang, key.shape, places)) places.clear();
  } else {
    engine_.place(key.request, pods, places);
  }
  for (const placement::Placed& place : places) {
    engine_.release(place.node, key.request, place.gpu_mask, engine_.pinning(place));
  }
  engine_.drop_pinnings();
  return static_cast<std::uint32_t>(places.size());
}

// The job finds no room: may others go for it? They do only if it then starts, and no more of them than it takes.
bool Core::Impl::make_room(JobId id, const ClassKey& key, std::uint32_t most) {
  if (!preempts_ || preemptable_.empty()) return false;
  const Job& job = *cluster_.job(id);
  if (preemptable_.begin()->first >= tier_of(job.spec)) return false;
  if (takes_room(id)) return true;  // they are on their way
  // Who looked in vain rests a little, so that many such jobs cost little.
  if (const auto tried = room_tried_.find(id); tried != room_tried_.end() && now_ < tried->second + kRest) {
    const TimeUs again = tried->second + kRest;
    room_retry_at_ = room_retry_at_ == 0 ? again : std::min(room_retry_at_, again);
    return false;
  }
  if (room_tries_ == kTriesAPass) {
    room_retry_at_ = room_retry_at_ == 0 ? now_ + kRest : std::min(room_retry_at_, now_ + kRest);
    return false;
  }
  ++room_tries_;
  if (room_tried_.size() >= kTriedMax) room_tried_.clear();
  room_tried_[id] = now_;
  std::vector<Victim> victims = victims_for(job);
  if (victims.empty()) return false;
  for (const Victim& victim : victims) lift(victim, true);
  const std::uint32_t pods = key.gang != 0 ? key.gang : std::min({throttle_room(job), kPodsAtOnceMax, most});
  const std::uint32_t target = fitting(key, pods);
  // Back they go, the dearest first, as long as the job still fits.
  std::vector<std::size_t> needed;
  if (target != 0) {
    // Most are far from it: find the shortest run from the cheap end that is enough, and then look at those one by one.
    std::size_t enough = victims.size(), lifted = victims.size();
    const auto lift_first = [&](std::size_t count) {
      for (; lifted > count; --lifted) lift(victims[lifted - 1], false);
      for (; lifted < count; ++lifted) lift(victims[lifted], true);
    };
    std::size_t too_few = 0;
    while (too_few + 1 < enough) {
      const std::size_t middle = (too_few + enough) / 2;
      lift_first(middle);
      (fitting(key, target) >= target ? enough : too_few) = middle;
    }
    lift_first(enough);
    for (std::size_t i = enough; i-- > 0;) {
      lift(victims[i], false);
      if (fitting(key, target) >= target) continue;
      lift(victims[i], true);
      needed.push_back(i);
    }
    for (const std::size_t i : needed) lift(victims[i], false);
  } else {
    for (const Victim& victim : victims) lift(victim, false);
  }
  if (needed.empty()) return false;
  room_tried_.erase(id);
  std::set<PodId>& going = making_room_[id];
  std::vector<PodStop> stops;
  std::set<JobId> jobs;
  for (const std::size_t i : needed) {
    for (const PodId& pod : victims[i].pods) {
      going.insert(pod);
      preempted_[pod] = id;
      stops.push_back(
          {cluster_.pod(pod)->ref, victims[i].how == Preempt::kRequeue ? PodState::kPending : PodState::kCancelled});
      jobs.insert(pod.job);
    }
  }
  if (!steps_.empty()) {
    for (const JobId of : jobs) end_steps(*cluster_.job(of));
  }
  stop_pods(std::move(stops));
  return true;
}

void Core::Impl::retry_room() {
  room_tries_ = 0;
  if (room_retry_at_ == 0 || now_ < room_retry_at_) return;
  room_retry_at_ = 0;
  dispatcher_.retry_tiers();
}

bool Core::Impl::takes_room(JobId id) const { return making_room_.contains(id); }

}  // namespace berth::scheduler
