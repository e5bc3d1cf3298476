// Runtimes: which of crun and runc really runs a container on this machine, found out by running one when the first
// container comes, and remembered. Loop thread only.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "agent/io/pod_input.h"
#include "agent/io/shim_launcher.h"
#include "api/wire/loop.h"

namespace berth::agent {

enum class RuntimeChoice { kAuto, kCrun, kRunc };
state::Result<RuntimeChoice> parse_runtime_choice(std::string_view text, std::string_view field);

class Runtimes {
 public:
  using Chosen = std::function<void(state::Result<Runtime>)>;
  using Probed = std::function<void(state::Result<Runtime>)>;
  Runtimes(wire::Loop& loop, ShimLauncher& launcher, const PodContext& context, RuntimeChoice choice);

  void choose(Chosen handler);  // may call back at once
  // Runs a trivial container with one runtime.
  void probe(Runtime::Kind kind, Probed handler);

 private:
  struct Probe {
    std::string directory;
    Runtime runtime;
    Probed handler;
    std::unique_ptr<WatchedProcess> process;
    std::shared_ptr<wire::Loop::Timer> timeout;
    bool timed_out = false;
  };
  void try_next(std::string failures);
  void settle(state::Result<Runtime> result);
  void finish(Probe& probe);
  state::Status start(Probe& probe);

  wire::Loop& loop_;
  ShimLauncher& launcher_;
  const PodContext& context_;
  std::vector<Runtime::Kind> candidates_;
  std::size_t next_ = 0;
  std::optional<state::Result<Runtime>> settled_;
  std::vector<Chosen> waiting_;
  std::vector<std::unique_ptr<Probe>> probes_;
};

const char* name_of(Runtime::Kind kind);

}  // namespace berth::agent
