#include "agent/io/usage.h"

#include <algorithm>
#include <charconv>
#include <string_view>
#include <unistd.h>
#include <vector>

#include "agent/io/files.h"

namespace berth::agent {

namespace {

constexpr std::size_t kFileMax = 1U << 20;

std::uint64_t ticks_us(std::uint64_t ticks) {
  static const auto per_second = static_cast<std::uint64_t>(sysconf(_SC_CLK_TCK));
  return ticks * 1'000'000 / per_second;
}

std::uint64_t number_at(std::string_view text) {
  std::uint64_t number = 0;
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

std::uint64_t number_behind(const std::string& text, std::string_view key) {
  const std::size_t at = text.find(key);
  return at == std::string::npos ? 0 : number_at(std::string_view(text).substr(at + key.size()));
}

// The fields of /proc/PID/stat behind the name, which may hold anything; the first is field 3.
std::vector<std::uint64_t> stat_fields(const std::string& text) {
  std::vector<std::uint64_t> fields;
  const std::size_t name_end = text.rfind(')');
  if (name_end == std::string::npos) return fields;
  for (std::size_t at = name_end + 2; at < text.size();) {
    fields.push_back(number_at(std::string_view(text).substr(at, 24)));
    at = std::min(text.find(' ', at), text.size() - 1) + 1;
  }
  return fields;
}

struct Process {
  std::uint64_t user = 0, system = 0, waited_user = 0, waited_system = 0;  // in ticks
  std::uint64_t resident_pages = 0;
  bool there = false;
};

Process read_process(int pid) {
  Process process;
  const auto text = read_file("/proc/" + std::to_string(pid) + "/stat", kFileMax);
  const auto fields = text ? stat_fields(*text) : std::vector<std::uint64_t>();
  constexpr std::size_t kUser = 14 - 3, kResident = 24 - 3;
  if (fields.size() <= kResident) return process;
  process = {fields[kUser], fields[kUser + 1], fields[kUser + 2], fields[kUser + 3], fields[kResident], true};
  return process;
}

// With what its children did that it waited for.
void add_io(int pid, state::PodUse& use) {
  const auto text = read_file("/proc/" + std::to_string(pid) + "/io", kFileMax);
  if (!text) return;
  use.read_bytes += number_behind(*text, "read_bytes: ");
  use.written_bytes += number_behind(*text, "\nwrite_bytes: ");
}

void add_descendants(int pid, std::vector<int>& out, int depth) {
  constexpr int kDepthMax = 64;
  const std::string self = std::to_string(pid);
  const auto text = read_file("/proc/" + self + "/task/" + self + "/children", kFileMax);
  if (!text || depth > kDepthMax) return;
  for (std::size_t at = 0; at < text->size();) {
    const std::size_t end = std::min(text->find(' ', at), text->size());
    int child = 0;
    std::from_chars(text->data() + at, text->data() + end, child);
    if (child > 0) {
      out.push_back(child);
      add_descendants(child, out, depth + 1);
    }
    at = end + 1;
  }
}

}  // namespace

void sample_machine(state::TopPage& page) {
  page.cpus = static_cast<std::uint32_t>(sysconf(_SC_NPROCESSORS_ONLN));
  if (const auto text = read_file("/proc/stat", kFileMax)) {
    // "cpu  user nice system idle iowait irq softirq steal …"
    std::vector<std::uint64_t> ticks;
    std::string_view line(*text);
    line = line.substr(0, line.find('\n'));
    for (std::size_t at = line.find(' '); at != std::string_view::npos && ticks.size() < 8;) {
      at = line.find_first_not_of(' ', at);
      if (at == std::string_view::npos) break;
      ticks.push_back(number_at(line.substr(at)));
      at = line.find(' ', at);
    }
    std::uint64_t busy = 0;
    for (std::size_t i = 0; i < ticks.size(); ++i) busy += i == 3 || i == 4 ? 0 : ticks[i];
    page.busy_us = ticks_us(busy);
  }
  if (const auto text = read_file("/proc/meminfo", kFileMax)) {
    page.mem_bytes = number_behind(*text, "MemTotal:") << 10;
    const std::uint64_t available = number_behind(*text, "MemAvailable:") << 10;
    page.mem_used_bytes = page.mem_bytes - std::min(page.mem_bytes, available);
  }
}

void sample_pod(const Cgroups& cgroups, const std::string& name, int shim, state::PodTop& top) {
  Cgroups::Sample sample;
  if (cgroups.usable()) sample = cgroups.sample(name);
  if (!cgroups.usable()) add_descendants(shim, sample.processes, 0);
  std::uint64_t resident = 0;
  const Process of_shim = read_process(shim);
  std::uint64_t user = of_shim.waited_user, system = of_shim.waited_system;
  add_io(shim, top.use);
  for (const int pid : sample.processes) {
    const Process process = read_process(pid);
    if (!process.there) continue;
    ++top.processes;
    user += process.user + process.waited_user;
    system += process.system + process.waited_system;
    resident += process.resident_pages;
    add_io(pid, top.use);
  }
  top.use.cpu_user_us = ticks_us(user);
  top.use.cpu_system_us = ticks_us(system);
  top.mem_bytes = cgroups.usable() ? sample.mem_bytes : resident * static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
  top.mem_peak_bytes = std::max(sample.mem_peak_bytes, top.mem_bytes);
}

}  // namespace berth::agent
