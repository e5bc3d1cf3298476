#include "tools/roots/place_request.h"

#include "state/units.h"
#include "tools/cli/text.h"

namespace berth::tools {

using namespace state;
using placement::TopologyRequest;

namespace {

constexpr const char* kField = "request";
constexpr std::int64_t kCountMax = 100'000;

Error refuse(std::string_view part, const std::string& accepted) {
  return invalid(kField, "'" + printable(part) + "' is not understood; accepted: " + accepted);
}

Status set_bind(std::string_view value, TopologyRequest& request) {
  using Level = TopologyRequest::Level;
  const std::vector<std::string> parts = split(value, ':');
  const std::string& level = parts[0];
  if (level == "none" || level == "l3" || level == "numa" || level == "package") {
    request.level = level == "l3"     ? Level::kL3
                    : level == "numa" ? Level::kNuma
                    : level == "none" ? Level::kNone
                                      : Level::kPackage;
    if (parts.size() == 1 || (parts.size() == 2 && parts[1] == "prefer" && level != "none")) return Unit{};
    request.require = parts.size() == 2 && parts[1] == "require" && level != "none";
    if (request.require) return Unit{};
  }
  return refuse("bind=" + std::string(value),
                "bind=none, or l3, numa or package, with :prefer (the default) or :require");
}

Status set_count(std::string_view value, std::string_view key, std::uint32_t& count) {
  auto number = parse_integer(value, kField, 1, kCountMax);
  if (!number) return invalid(kField, std::string(key) + ": " + number.error().message);
  count = static_cast<std::uint32_t>(*number);
  return Unit{};
}

Status set(std::string_view key, std::string_view value, TopologyRequest& request) {
  if (key == "cpus") return set_count(value, key, request.cores);
  if (key == "threads") return set_count(value, key, request.threads);
  if (key == "threads-per-core") return set_count(value, key, request.threads_per_core);
  if (key == "gpus") return set_count(value, key, request.gpus);
  if (key == "bind") return set_bind(value, request);
  if (key == "mem") {
    auto mem = parse_mem_mib(value, kField);
    if (!mem) return invalid(kField, "mem: " + mem.error().message);
    request.mem_mib = *mem;
    return Unit{};
  }
  return refuse(key, "cpus, threads, threads-per-core, mem, gpus, bind");
}

}  // namespace

Result<TopologyRequest> parse_place_request(std::string_view text) {
  TopologyRequest request;
  std::vector<std::string> seen;
  for (const std::string& part : split(text, ',')) {
    const std::size_t equals = part.find('=');
    if (equals == std::string::npos) return refuse(part, "KEY=VALUE, with commas between, as in cpus=8,mem=16G");
    const std::string key = part.substr(0, equals);
    for (const std::string& other : seen) {
      if (other == key) return invalid(kField, "'" + printable(key) + "' is given twice");
    }
    seen.push_back(key);
    if (Status done = set(key, std::string_view(part).substr(equals + 1), request); !done) return done.error();
  }
  if ((request.cores == 0) == (request.threads == 0)) {
    return invalid(kField, "it needs cpus=N (whole cores) or threads=N (hardware threads), one of the two");
  }
  if (request.threads != 0 && request.threads_per_core != 0) {
    return invalid(kField, "threads-per-core goes with cpus, not with threads");
  }
  return request;
}

}  // namespace berth::tools
