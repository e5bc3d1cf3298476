#include "agent/io/layout.h"

#include <charconv>

namespace berth::agent {

state::Status Layout::make() const {
  // 0711: a pod's user reaches his own output file and can list nothing. What holds images and their changes may
  // contain set-user-id programs of somebody's making, so nobody gets in there.
  if (auto made = make_directories(root_, 0711); !made) return made;
  if (auto made = make_directory(jobs(), 0711); !made) return made;
  if (auto made = make_directory(pods(), 0700); !made) return made;
  if (auto made = make_directory(bundles(), 0700); !made) return made;
  return make_directory(images(), 0700);
}

std::string Layout::pod_name(const state::PodRef& ref) {
  return std::to_string(ref.pod.job.value) + "." + std::to_string(ref.pod.element) + "." + std::to_string(ref.attempt);
}

std::optional<state::PodRef> Layout::parse_pod_name(std::string_view name) {
  state::PodRef ref;
  const char* const end = name.data() + name.size();
  const auto job = std::from_chars(name.data(), end, ref.pod.job.value);
  if (job.ec != std::errc() || job.ptr == end || *job.ptr != '.') return std::nullopt;
  const auto element = std::from_chars(job.ptr + 1, end, ref.pod.element);
  if (element.ec != std::errc() || element.ptr == end || *element.ptr != '.') return std::nullopt;
  const auto attempt = std::from_chars(element.ptr + 1, end, ref.attempt);
  if (attempt.ec != std::errc() || attempt.ptr != end) return std::nullopt;
  if (pod_name(ref) != name) return std::nullopt;
  return ref;
}

}  // namespace berth::agent
