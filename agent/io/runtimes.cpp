#include "agent/io/runtimes.h"

#include <algorithm>
#include <cstdlib>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/io/pod_file.h"

namespace berth::agent {

using state::Error;
using state::ErrorCode;
using state::Result;
using state::Status;
using state::Unit;

namespace {

constexpr std::int64_t kProbeTimeoutMs = 20'000;

// Also where PATH of a plain user or a service does not look.
std::string find_program(const std::string& name) {
  const char* path = std::getenv("PATH");
  std::string all = path == nullptr ? "" : path;
  all += ":/usr/local/bin:/usr/bin:/usr/local/sbin:/usr/sbin";
  for (std::size_t at = 0; at < all.size();) {
    const std::size_t end = std::min(all.find(':', at), all.size());
    const std::string full = all.substr(at, end - at) + "/" + name;
    if (full[0] == '/' && access(full.c_str(), X_OK) == 0) return full;
    at = end + 1;
  }
  return "";
}

Error no_runtime(std::string message) { return Error{ErrorCode::kUnavailable, "image", std::move(message), 0}; }

}  // namespace

const char* name_of(Runtime::Kind kind) { return kind == Runtime::Kind::kCrun ? "crun" : "runc"; }

Result<RuntimeChoice> parse_runtime_choice(std::string_view text, std::string_view field) {
  if (text == "auto") return RuntimeChoice::kAuto;
  if (text == "crun") return RuntimeChoice::kCrun;
  if (text == "runc") return RuntimeChoice::kRunc;
  return state::invalid(std::string(field),
                        std::string(field) + ": '" + std::string(text) + "' is not one of auto, crun, runc");
}

Runtimes::Runtimes(wire::Loop& loop, ShimLauncher& launcher, const PodContext& context, RuntimeChoice choice)
    : loop_(loop), launcher_(launcher), context_(context) {
  if (choice != RuntimeChoice::kRunc) candidates_.push_back(Runtime::Kind::kCrun);
  if (choice != RuntimeChoice::kCrun) candidates_.push_back(Runtime::Kind::kRunc);
}

void Runtimes::choose(Chosen handler) {
  if (settled_) return handler(*settled_);
  waiting_.push_back(std::move(handler));
  if (waiting_.size() == 1) try_next("");
}

void Runtimes::try_next(std::string failures) {
  if (next_ == candidates_.size()) return settle(no_runtime("no container runtime works here: " + failures));
  const Runtime::Kind kind = candidates_[next_++];
  probe(kind, [this, failures = std::move(failures)](Result<Runtime> result) {
    if (result) return settle(std::move(result));
    try_next(failures + (failures.empty() ? "" : "; ") + result.error().message);
  });
}

void Runtimes::settle(Result<Runtime> result) {
  // What works goes on working; what does not may be installed or repaired: the next container asks again.
  if (result) settled_ = result;
  next_ = 0;
  for (const Chosen& handler : std::exchange(waiting_, {})) handler(result);
}

void Runtimes::probe(Runtime::Kind kind, Probed handler) {
  const std::string name = name_of(kind);
  Runtime runtime{kind, find_program(name)};
  if (geteuid() != 0) return handler(no_runtime(name + ": containers need an agent that runs as root"));
  if (runtime.path.empty()) return handler(no_runtime(name + " is not installed"));
  auto probe = std::make_unique<Probe>();
  probe->directory = context_.layout->file("probe-" + name);
  probe->runtime = std::move(runtime);
  probe->handler = std::move(handler);
  probes_.push_back(std::move(probe));
  Probe& started = *probes_.back();
  if (const Status status = start(started); !status) {
    const Probed call = std::move(started.handler);
    probes_.pop_back();
    call(no_runtime(name + ": " + status.error().message));
  }
}

Status Runtimes::start(Probe& probe) {
  const std::string& directory = probe.directory;
  remove_tree(directory);
  for (const std::string& path : {directory, directory + "/image", directory + "/image/dev", directory + "/image/proc",
                                  directory + "/image/sys"}) {
    if (auto made = make_directory(path, 0700); !made) return made;
  }
  if (auto wrote = write_file(directory + "/image/probe", shim_program(), 0755); !wrote) return wrote;
  ContainerSpec spec;
  spec.args = {"/probe", "--probe"};
  spec.directory = "/";
  spec.hostname = "probe";
  InputBuilder input;
  input.add(shim::kOutput, "/dev/null");
  const std::string name = std::string("probe-") + name_of(probe.runtime.kind);
  add_container(input, context_, probe.runtime, {directory, name, directory + "/image"}, {}, nullptr, spec);
  if (auto wrote = write_file(directory + "/config.json", container_config(spec)); !wrote) return wrote;
  auto pod_file = create_pod_file(directory + "/pod", input.bytes(), "");
  if (!pod_file) return pod_file.error();
  auto process = launcher_.spawn(std::move(*pod_file), [this, &probe] { finish(probe); });
  if (!process) return process.error();
  probe.process = std::move(*process);
  probe.timeout = loop_.after_ms(kProbeTimeoutMs, [&probe] {
    probe.timed_out = true;
    ShimLauncher::send_signal(*probe.process, shim::kKillSignal);
  });
  return Unit{};
}

void Runtimes::finish(Probe& probe) {
  const auto facts = read_pod_facts(probe.directory + "/pod");
  const auto record = facts ? facts->end : std::nullopt;
  const std::string name = name_of(probe.runtime.kind);
  Result<Runtime> result = probe.runtime;
  if (probe.timed_out) {
    result = no_runtime(name + ": a trivial container did not end within 20 s");
  } else if (!record) {
    result = no_runtime(name + ": the probe's shim died");
  } else if (!record->failure.empty()) {
    result = no_runtime(name + ": " + record->failure);
  } else if (record->exit_code != shim::kProbeExitCode) {
    result = no_runtime(name + ": a trivial container ended with exit code " + std::to_string(record->exit_code) +
                        (record->signal != 0 ? ", signal " + std::to_string(record->signal) : ""));
  }
  remove_tree(probe.directory);
  const Probed call = std::move(probe.handler);
  std::erase_if(probes_, [&](const auto& one) { return one.get() == &probe; });
  call(std::move(result));
}

}  // namespace berth::agent
