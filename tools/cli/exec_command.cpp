#include "tools/cli/exec_command.h"

#include <cstdlib>
#include <memory>
#include <unistd.h>

#include "tools/cli/exec_stream.h"
#include "tools/cli/job_name.h"
#include "tools/cli/text.h"

namespace berth::tools {

using namespace state;

namespace {

struct ExecOptions {
  std::string pod;
  std::vector<std::string> env;
  bool input = false, terminal = false;
};

int exec(const Context& context, const ExecOptions& options) {
  const auto pod = parse_pod_name(options.pod);
  if (!pod) return report(pod.error(), true);
  if (context.command.empty()) {
    return report(invalid("", "COMMAND is missing, as in: berth exec " + printable(options.pod) + " -- ls /"), true);
  }
  ExecRequest request;
  request.job = pod->job;
  request.index = pod->index;
  request.argv = context.command;
  request.input = options.input;
  request.terminal = options.terminal;
  for (const std::string& line : options.env) {
    const std::size_t equals = line.find('=');
    if (equals == 0 || equals == std::string::npos) {
      return report(invalid("env", "'" + printable(line) + "' is not a variable; accepted: NAME=VALUE"), true);
    }
    request.env.push_back(line);
  }
  if (options.terminal) {
    if (options.input && isatty(STDIN_FILENO) != 1) {
      return report(invalid("--tty", "standard input is no terminal, so that it cannot be the command's; leave out -t"),
                    true);
    }
    describe_terminal(request);
  }
  ServerLink link(context);
  if (Status reached = link.connect(); !reached) return report(reached.error());
  return watch_command(link, std::move(request));
}

}  // namespace

void add_exec_command(CLI::App& app, Context& context) {
  CLI::App* command = add_command(
      app, "exec", "Run a command inside of a running pod",
      "As the pod's user, with its environment, working directory, network, limits and, in a container, its files. "
      "Ends "
      "with the command's exit code, or 128+N if signal N ended it; with 127 if it cannot be run. The command is "
      "killed "
      "when this ends or the connection is lost, and it ends with the pod; nothing of it is kept or run again.",
      "berth exec 12 -- ls -l\nberth exec -it 12 -- bash          a shell on a terminal\n"
      "berth exec -i 13.7 -- tar -x < files.tar");
  auto options = std::make_shared<ExecOptions>();
  command->group("Jobs");
  command->add_option("pod", options->pod, "a job's id, or one of its pods as in 12.7 or 12[7]")
      ->type_name("JOB[.INDEX]")
      ->required();
  takes_command(command, "the command and its arguments");
  command->add_flag("-i,--stdin", options->input, "hand on standard input; without it, it is empty");
  command->add_flag("-t,--tty", options->terminal, "run it on a terminal, which this one then stands for");
  command->add_option("-e,--env", options->env, "set a variable, over the pod's; may be given several times")
      ->type_name("NAME=VALUE")
      ->allow_extra_args(false);
  on_run(command, context, [options, &context] { return exec(context, *options); });
}

}  // namespace berth::tools
