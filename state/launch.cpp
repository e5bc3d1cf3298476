#include "state/launch.h"

#include <algorithm>

#include "state/fbs_convert.h"
#include "state/records.h"

namespace berth::state {

namespace {

bool has_nul(const std::string& s) { return s.find('\0') != std::string::npos; }

constexpr std::int64_t kProbeMsMax = 24LL * 3600 * 1000;
constexpr std::uint32_t kProbeCountMax = 1'000;

Status check(const std::optional<Probe>& probe, const std::string& field) {
  if (!probe) return Unit{};
  const auto bad = [&](const char* what) { return invalid(field, "the probe '" + field + "' " + what); };
  const bool command = probe->kind == Probe::Kind::kCommand, http = probe->kind == Probe::Kind::kHttp;
  if (command && (probe->argv.empty() || probe->argv[0].empty())) return bad("has no command to run");
  if (!command && !probe->argv.empty()) return bad("has a command, which only a probe by command has");
  if (std::any_of(probe->argv.begin(), probe->argv.end(), has_nul)) return bad("has NUL bytes in its command");
  if (command != (probe->port == 0))
    return bad(command ? "has a port, and runs a command" : "needs a port from 1 to 65535");
  if (http != !probe->path.empty())
    return bad(http ? "needs a path that begins with '/'" : "has a path, which only http has");
  const auto plain = [](char c) { return c > ' ' && c < 127; };
  if (http && (probe->path[0] != '/' || !std::all_of(probe->path.begin(), probe->path.end(), plain))) {
    return bad("needs a path that begins with '/', without spaces");
  }
  if (probe->delay_ms < 0 || probe->delay_ms > kProbeMsMax) return bad("needs an initial delay from 0 to 24h");
  if (probe->period_ms < 100 || probe->period_ms > kProbeMsMax) return bad("needs a period from 100ms to 24h");
  if (probe->timeout_ms < 1 || probe->timeout_ms > kProbeMsMax) return bad("needs a timeout from 1ms to 24h");
  if (probe->failures < 1 || probe->failures > kProbeCountMax || probe->successes < 1 ||
      probe->successes > kProbeCountMax) {
    return bad("needs from 1 to 1000 failures and successes");
  }
  return Unit{};
}

Status check(const Launch& launch) {
  const auto bad = [](const char* field, const char* what) { return invalid(field, what); };
  if (launch.argv.empty() && launch.driver == Driver::kProcess) return bad("command", "there is no command to run");
  const auto any_nul = [](const std::vector<std::string>& list) {
    return std::any_of(list.begin(), list.end(), has_nul);
  };
  if (any_nul(launch.argv) || any_nul(launch.env) || has_nul(launch.cwd) || has_nul(launch.output_path) ||
      has_nul(launch.error_path) || has_nul(launch.image)) {
    return bad("command", "the command, its environment and its paths must not contain NUL bytes");
  }
  if (!launch.argv.empty() && launch.argv[0].empty()) return bad("command", "the name of the command is empty");
  for (const std::string& variable : launch.env) {
    if (variable.find('=') == std::string::npos || variable[0] == '=')
      return bad("env", "an environment variable is not NAME=value");
  }
  if (launch.driver == Driver::kOci && launch.image.empty()) return bad("image", "a container needs an image");
  if (launch.driver == Driver::kProcess && !launch.cwd.empty() && launch.cwd[0] != '/') {
    return bad("cwd", "the working directory must be an absolute path");
  }
  if (!launch.script.empty() && (launch.driver != Driver::kProcess || launch.argv.empty())) {
    return bad("script", "a script is run as a process, and not in a container");
  }
  if (has_nul(launch.script)) return bad("script", "the script contains NUL bytes");
  if (launch.grace_ms < 0 || launch.grace_ms > 24LL * 3600 * 1000)
    return bad("grace", "the grace time must be from 0 to 24h");
  if (launch.warn_signal > 64 || launch.warn_ms < 0 || launch.warn_ms > 24LL * 3600 * 1000) {
    return bad("signal", "a warning is a signal from 1 to 64, at most 24h before the time limit");
  }
  if (launch.umask > 0777) return bad("umask", "the umask must be from 0 to 0777");
  if (auto good = check(launch.probe_start, "start"); !good) return good;
  if (auto good = check(launch.probe_ready, "ready"); !good) return good;
  if (auto good = check(launch.probe_live, "live"); !good) return good;
  return check_container(launch.container);
}

}  // namespace

namespace {

flatbuffers::Offset<spec::Probe> encode(flatbuffers::FlatBufferBuilder& b, const std::optional<Probe>& probe) {
  if (!probe) return 0;
  const auto argv = convert::strings(b, probe->argv);
  const auto path = convert::text(b, probe->path);
  return spec::CreateProbe(b, static_cast<std::uint8_t>(probe->kind), argv, probe->port, path, probe->delay_ms,
                           probe->period_ms, probe->timeout_ms, probe->failures, probe->successes);
}

// False if it is of a kind that is not known here.
bool decode(const spec::Probe* table, std::optional<Probe>& out) {
  if (table == nullptr) return true;
  if (table->kind() > static_cast<std::uint8_t>(Probe::Kind::kTcp)) return false;
  out = Probe{static_cast<Probe::Kind>(table->kind()),
              convert::strings(table->argv()),
              table->port(),
              convert::text(table->path()),
              table->delay_ms(),
              table->period_ms(),
              table->timeout_ms(),
              table->failures(),
              table->successes()};
  return true;
}

}  // namespace

namespace {

flatbuffers::Offset<spec::Container> encode(flatbuffers::FlatBufferBuilder& b, const Container& container) {
  if (container == Container{}) return 0;
  std::vector<flatbuffers::Offset<spec::Mount>> mounts;
  for (const Mount& mount : container.mounts) {
    const auto source = convert::text(b, mount.source);
    const auto target = convert::text(b, mount.target);
    mounts.push_back(
        spec::CreateMount(b, static_cast<std::uint8_t>(mount.kind), source, target, mount.read_only, mount.size_mib));
  }
  std::vector<flatbuffers::Offset<spec::Ulimit>> limits;
  for (const Ulimit& limit : container.ulimits) {
    limits.push_back(spec::CreateUlimit(b, convert::text(b, limit.name), limit.soft, limit.hard));
  }
  const auto auth_file = convert::text(b, container.auth_file);
  const auto mount_list = mounts.empty() ? 0 : b.CreateVector(mounts);
  const auto hostname = convert::text(b, container.hostname);
  const auto limit_list = limits.empty() ? 0 : b.CreateVector(limits);
  return spec::CreateContainer(b, static_cast<std::uint8_t>(container.pull), auth_file, mount_list, container.read_only,
                               hostname, limit_list, container.unconfined);
}

bool decode(const spec::Container* table, Container& out) {
  if (table == nullptr) return true;
  if (table->pull() > static_cast<std::uint8_t>(PullPolicy::kNever)) return false;
  out.pull = static_cast<PullPolicy>(table->pull());
  out.auth_file = convert::text(table->auth_file());
  out.read_only = table->read_only();
  out.hostname = convert::text(table->hostname());
  out.unconfined = table->unconfined();
  const bool mounts = convert::each(table->mounts(), [&](const spec::Mount& mount) {
    if (mount.kind() > static_cast<std::uint8_t>(Mount::Kind::kScratch)) return false;
    out.mounts.push_back({static_cast<Mount::Kind>(mount.kind()), convert::text(mount.source()),
                          convert::text(mount.target()), mount.read_only(), mount.size_mib()});
    return true;
  });
  return mounts && convert::each(table->ulimits(), [&](const spec::Ulimit& limit) {
           out.ulimits.push_back({convert::text(limit.name()), limit.soft(), limit.hard()});
           return true;
         });
}

}  // namespace

std::string encode_launch(const Launch& launch) {
  flatbuffers::FlatBufferBuilder b(1024);
  const auto argv = convert::strings(b, launch.argv);
  const auto env = convert::strings(b, launch.env);
  const auto cwd = convert::text(b, launch.cwd);
  const auto output = convert::text(b, launch.output_path);
  const auto error = convert::text(b, launch.error_path);
  const auto image = convert::text(b, launch.image);
  const auto script = convert::text(b, launch.script);
  const auto start = encode(b, launch.probe_start);
  const auto ready = encode(b, launch.probe_ready);
  const auto live = encode(b, launch.probe_live);
  const auto container = encode(b, launch.container);
  b.Finish(spec::CreateLaunch(b, static_cast<std::uint8_t>(launch.driver), argv, env, cwd, output, error, launch.append,
                              image, launch.umask, launch.grace_ms, script, launch.slurm_variables, launch.warn_signal,
                              launch.warn_ms, static_cast<std::uint8_t>(launch.network), start, ready, live,
                              container));
  return {reinterpret_cast<const char*>(b.GetBufferPointer()), b.GetSize()};
}

Result<Launch> decode_launch(std::span<const std::byte> bytes) {
  const convert::Aligned aligned(bytes);
  flatbuffers::Verifier verifier(aligned.data(), aligned.size());
  if (bytes.size() > kMaxLaunchBytes || !verifier.VerifyBuffer<spec::Launch>(nullptr)) {
    return invalid("command", "the description of the command is malformed");
  }
  const auto* table = flatbuffers::GetRoot<spec::Launch>(aligned.data());
  if (table->driver() > static_cast<std::uint8_t>(Driver::kOci)) return invalid("command", "the driver is unknown");
  Launch launch;
  launch.driver = static_cast<Driver>(table->driver());
  launch.argv = convert::strings(table->argv());
  launch.env = convert::strings(table->env());
  launch.cwd = convert::text(table->cwd());
  launch.output_path = convert::text(table->output_path());
  launch.error_path = convert::text(table->error_path());
  launch.append = table->append();
  launch.image = convert::text(table->image());
  launch.umask = table->umask();
  launch.grace_ms = table->grace_ms();
  launch.script = convert::text(table->script());
  launch.slurm_variables = table->slurm_variables();
  launch.warn_signal = table->warn_signal();
  launch.warn_ms = table->warn_ms();
  if (table->network() > static_cast<std::uint8_t>(NetworkMode::kPods)) {
    return invalid("network", "the kind of network is unknown");
  }
  launch.network = static_cast<NetworkMode>(table->network());
  if (!decode(table->probe_start(), launch.probe_start) || !decode(table->probe_ready(), launch.probe_ready) ||
      !decode(table->probe_live(), launch.probe_live)) {
    return invalid("probe", "the kind of a probe is unknown");
  }
  if (!decode(table->container(), launch.container)) return invalid("image", "a mount or a policy is unknown");
  if (Status good = check(launch); !good) return good.error();
  return launch;
}

std::string expand_path(std::string_view pattern, const PathNames& names) {
  std::string out;
  out.reserve(pattern.size() + 16);
  for (std::size_t i = 0; i < pattern.size(); ++i) {
    if (pattern[i] != '%' || i + 1 == pattern.size()) {
      out += pattern[i];
      continue;
    }
    std::size_t digits = 0, at = i + 1;
    while (at < pattern.size() && pattern[at] >= '0' && pattern[at] <= '9' && at - i < 3) {
      digits = digits * 10 + static_cast<std::size_t>(pattern[at++] - '0');
    }
    const auto number = [&](std::uint64_t value) {
      const std::string text = std::to_string(value);
      if (text.size() < digits) out.append(digits - text.size(), '0');
      out += text;
    };
    switch (at < pattern.size() ? pattern[at] : 0) {
      case 'j':
        number(names.job);
        break;
      case 'a':
      case 'r':
        number(names.index);
        break;
      case 's':
        number(names.step);
        break;
      case 'n':
        out += names.node;
        break;
      case 'u':
        out += names.user;
        break;
      case 'x':
        out += names.job_name;
        break;
      case '%':
        out += '%';
        break;
      default:
        out += '%';
        continue;  // not one of ours: left as it is
    }
    i = at;
  }
  return out;
}

}  // namespace berth::state
