// The berth binary: one table of commands, one place where its errors become a line and an exit code.
#include "tools/cli/command.h"
#include "tools/cli/program.h"

int main(int argc, char** argv) {
  using namespace berth::tools;
  return run_program(argc, argv, [](CLI::App& app, Context& context) {
    add_job_commands(app, context);
    add_admin_commands(app, context);
    add_server_command(app, context);
    add_agent_command(app, context);
    add_dev_command(app, context);
    add_place_command(app, context);
    add_sim_command(app, context);
    add_bench_commands(app, context);
    add_doc_commands(app, context);
  });
}
