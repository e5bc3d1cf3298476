#include "state/launch.h"

#include <algorithm>

#include "state/fbs_convert.h"
#include "state/records.h"

namespace berth::state {

namespace {

bool has_nul(const std::string& s) { return s.find('\0') != std::string::npos; }

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
  return Unit{};
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
  b.Finish(spec::CreateLaunch(b, static_cast<std::uint8_t>(launch.driver), argv, env, cwd, output, error, launch.append,
                              image, launch.umask, launch.grace_ms, script, launch.slurm_variables, launch.warn_signal,
                              launch.warn_ms));
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
