#include "agent/io/exec_input.h"

#include <algorithm>
#include <cstring>
#include <sys/mman.h>
#include <unistd.h>

#include "agent/io/pod_input.h"

namespace berth::agent {

using state::ExecRequest;

namespace {

struct Item {
  shim::Tag tag;
  std::string_view text;
};

template <class Use>
void each_item(std::string_view input, Use&& use) {
  while (!input.empty()) {
    const std::size_t end = std::min(input.find('\0'), input.size());
    if (end == 0) return;
    use(Item{static_cast<shim::Tag>(input[0]), input.substr(1, end - 1)});
    input.remove_prefix(std::min(end + 1, input.size()));
  }
}

bool any_of(std::string_view tags, shim::Tag tag) {
  return tags.find(static_cast<char>(tag)) != std::string_view::npos;
}

// How a command is placed: in the groups of the pod, on its hardware threads.
constexpr char kPlacing[] = {shim::kJoin, shim::kJoinAtBirth, shim::kKillGroup, shim::kCpus, 0};
// Who it is: everything that a process has of its pod.
constexpr char kBeing[] = {shim::kDirectory, shim::kUser,   shim::kGroup, shim::kMoreGroup, shim::kUmask,
                           shim::kFileLimit, shim::kUlimit, shim::kNetns, shim::kBindFile,  0};

std::string_view name_of_variable(std::string_view line) { return line.substr(0, line.find('=')); }

}  // namespace

bool is_container(std::string_view pod_input) {
  bool found = false;
  each_item(pod_input, [&](const Item& item) { found = found || item.tag == shim::kPidFile; });
  return found;
}

std::string command_input(std::string_view pod_input, const ExecRequest& request) {
  InputBuilder out;
  each_item(pod_input, [&](const Item& item) {
    if (any_of(kPlacing, item.tag) || any_of(kBeing, item.tag)) out.add(item.tag, item.text);
    if (item.tag != shim::kEnv) return;
    const bool replaced = std::any_of(request.env.begin(), request.env.end(), [&](const std::string& line) {
      return name_of_variable(line) == name_of_variable(item.text);
    });
    if (!replaced) out.add(item.tag, item.text);
  });
  for (const std::string& line : request.env) out.add(shim::kEnv, line);
  for (const std::string& word : request.argv) out.add(shim::kArg, word);
  if (request.terminal) out.add(shim::kTerminal, "");
  return out.bytes();
}

std::vector<std::string> runtime_words(std::string_view pod_input, const ContainerCommand& command) {
  std::vector<std::string> started;
  each_item(pod_input, [&](const Item& item) {
    if (item.tag == shim::kArg) started.emplace_back(item.text);
  });
  std::vector<std::string> words;
  for (std::size_t i = 0; i < started.size() && started[i] != "run"; ++i) {
    words.push_back(started[i]);
    if (started[i] != "--log" || i + 1 == started.size()) continue;
    constexpr std::string_view kFile = "file:";  // as crun has it
    words.push_back((started[++i].starts_with(kFile) ? std::string(kFile) : std::string()) + command.log);
  }
  words.insert(words.end(), {"exec", "--process", command.process, "--pid-file", command.pid,
                             started.empty() ? "" : started.back()});
  return words;
}

std::string runtime_input(std::string_view pod_input, const std::vector<std::string>& words, bool terminal) {
  InputBuilder out;
  each_item(pod_input, [&](const Item& item) {
    // The runtime's environment, not the container's: that is in the process's file.
    if (any_of(kPlacing, item.tag) || item.tag == shim::kEnv) out.add(item.tag, item.text);
  });
  out.add(shim::kMounts, "");  // what the runtime runs on is seen only there
  for (const std::string& word : words) out.add(shim::kArg, word);
  if (terminal) out.add(shim::kTerminal, "");
  return out.bytes();
}

Fd make_input_file(const std::string& input) {
  Fd file(memfd_create("berth-exec", MFD_CLOEXEC));
  if (!file) return file;
  shim::PodRecord record;
  record.input_size = static_cast<std::uint32_t>(input.size());
  std::string bytes(shim::kInputAt, '\0');
  std::memcpy(bytes.data(), &record, sizeof record);
  bytes += input;
  if (write(file.get(), bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size())) file.reset(-1);
  return file;
}

std::string check_exec(const ExecRequest& request) {
  const auto has_nul = [](const std::string& text) { return text.find('\0') != std::string::npos; };
  if (request.argv.empty() || request.argv[0].empty()) return "there is no command to run";
  if (std::any_of(request.argv.begin(), request.argv.end(), has_nul)) return "a word of the command has a NUL byte";
  for (const std::string& line : request.env) {
    const std::size_t equals = line.find('=');
    if (equals == 0 || equals == std::string::npos || has_nul(line)) return "a variable is not NAME=VALUE";
  }
  return "";
}

}  // namespace berth::agent
