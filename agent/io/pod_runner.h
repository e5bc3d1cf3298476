// PodRunner: carries out NodeCore's actions on pods and reports what becomes of them. Starts are queued and few at a
// time, so that thousands of pods arriving at once neither block the loop nor flood the machine. Loop thread only.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "agent/core/node_core.h"
#include "agent/io/pod_input.h"
#include "agent/io/pod_network.h"
#include "agent/io/runtimes.h"
#include "agent/io/shim_launcher.h"
#include "api/wire/loop.h"

namespace berth::agent {

class PodRunner {
 public:
  using Report = std::variant<ShimStarted, ShimEnded, ShimVanished>;
  using ReportHandler = std::function<void(Report)>;  // never from within a call into the runner

  PodRunner(wire::Loop& loop, ShimLauncher& launcher, ImageStore& images, Runtimes& runtimes, const PodContext& context,
            std::size_t starting_max);

  void on_report(ReportHandler handler) { report_ = std::move(handler); }
  // Where pods get networks of their own; nullptr: nowhere.
  void set_networks(PodNetworks* networks) { networks_ = networks; }
  // Finds the pods on disk, tells the core of them and reports what ended. `same_boot`: the machine was not restarted.
  void adopt_all(NodeCore& core, bool same_boot);

  void launch(const LaunchPod& action);
  void signal(const SignalPod& action);
  void warn(const WarnPod& action);
  void discard(const DiscardPod& action);
  int shim_of(const state::PodRef& ref) const;  // its process; 0 if none lives
  std::set<state::PodRef> living() const;       // pods whose shim lives

 private:
  struct Starting {
    LaunchPod action;
    std::shared_ptr<const state::Launch> launch;
    ImageHandle image;  // containers
    Runtime runtime;
    std::shared_ptr<const PodNetwork> network;  // pods with a network of their own
  };
  struct Live {
    std::unique_ptr<WatchedProcess> shim;
    std::uint64_t launch_id = 0;
    bool started = false;
    ImageHandle image;
  };

  void adopt_one(NodeCore& core, const state::PodRef& ref, bool same_boot, std::set<std::string>& keep);
  ImageHandle image_of(const state::PodRef& ref);
  void forget_files(const state::PodRef& ref);
  void attach(Starting starting);
  void enqueue(Starting starting);
  void prepare_container(Starting starting);
  void pump();
  void start_one(Starting& starting);
  state::Result<Fd> write_pod(Starting& starting, std::uint64_t launch_id);
  void on_started(std::uint64_t launch_id, std::int64_t started_us);
  void on_exit(const state::PodRef& ref);
  void clear_groups(const std::string& name);
  void clear_left();
  void poll_adopted();
  void fail(const state::PodRef& ref, std::string why);
  void tell(Report report);
  std::shared_ptr<const state::Launch> launch_of(const state::StartOrder& order);

  wire::Loop& loop_;
  ShimLauncher& launcher_;
  ImageStore& images_;
  Runtimes& runtimes_;
  const PodContext& context_;
  const std::size_t starting_max_;
  ReportHandler report_;
  PodNetworks* networks_ = nullptr;

  std::deque<Starting> queue_;
  std::set<state::PodRef> queued_;  // in the queue or waiting for an image; erased when no longer wanted
  std::map<state::PodRef, Live> live_;
  std::map<std::uint64_t, state::PodRef> launches_;  // started, and not yet known to run
  std::uint64_t next_launch_id_ = 1;
  bool pump_posted_ = false;
  std::vector<Report> reports_;
  bool reports_posted_ = false;
  std::set<state::PodRef> unstarted_;  // adopted before they ran: nobody will tell us
  std::shared_ptr<wire::Loop::Timer> poll_timer_;
  std::set<std::string> left_;  // pods that are over and whose groups are still there
  std::int64_t left_pause_ms_ = 0;
  std::shared_ptr<wire::Loop::Timer> left_timer_;
  std::string last_launch_bytes_;  // arrays come in runs of the same launch
  std::shared_ptr<const state::Launch> last_launch_;
};

}  // namespace berth::agent
