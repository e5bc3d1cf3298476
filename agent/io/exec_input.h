// What `shim --exec` is told of a command in a pod: made from what the pod's own shim was told, so that the command
// finds the pod's user, environment, directory, network, limits and groups, also where another agent started the pod.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "agent/io/files.h"
#include "agent/shim/record.h"
#include "state/exec.h"
#include "state/result.h"

namespace berth::agent {

bool is_container(std::string_view pod_input);
// The command in a process pod; for a container, `command` below is to be run by its runtime.
std::string command_input(std::string_view pod_input, const state::ExecRequest& request);

// The runtime's command line for a command in a container, from that which started the container.
struct ContainerCommand {
  std::string process;  // file: the process, as command_process() describes it
  std::string log;      // file that the runtime's own errors go to
  std::string pid;      // file that the command's process id goes to
};
std::vector<std::string> runtime_words(std::string_view pod_input, const ContainerCommand& command);
std::string runtime_input(std::string_view pod_input, const std::vector<std::string>& words, bool terminal);

// The input as a file that a shim takes in place of a pod's; none, with errno set, if there is no memory.
Fd make_input_file(const std::string& input);

// "" if all is well; else what is wrong with a request, in one line.
std::string check_exec(const state::ExecRequest& request);

}  // namespace berth::agent
