// The berth binary: one table of commands, one place where its errors become a line and an exit code.
#include "tools/cli/command.h"
#include "tools/cli/program.h"
#include "tools/roots/state_command.h"
#include "tools/slurm/slurm_command.h"

int main(int argc, char** argv) {
  using namespace berth::tools;
  const std::string_view path = argc > 0 ? argv[0] : "";
  const std::string_view name = path.substr(path.find_last_of('/') + 1);
  if (is_slurm_command(name)) return run_slurm_command(name, std::vector<std::string>(argv + 1, argv + argc));
  return run_program(argc, argv, [](CLI::App& app, Context& context) {
    add_job_commands(app, context);
    add_admin_commands(app, context);
    add_server_command(app, context);
    add_agent_command(app, context);
    add_dev_command(app, context);
    add_place_command(app, context);
    add_state_command(app, context);
    add_sim_command(app, context);
    add_slurm_command(app, context);
    add_bench_commands(app, context);
    add_doc_commands(app, context);
  });
}
