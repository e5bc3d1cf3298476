// `berth service …` and `berth deploy`.
#pragma once

#include <string>
#include <vector>

#include "tools/cli/command.h"
#include "tools/cli/rows.h"
#include "tools/cli/server_link.h"

namespace berth::tools {

struct ReplicaOfService {
  std::string service;
  state::ReplicaRow row;
};
const std::vector<Column<ReplicaOfService>>& columns_for(const ReplicaOfService*);
void write_fields(JsonWriter& json, const ReplicaOfService& row);
std::string ports_text(const std::vector<state::ServicePort>& ports);  // "8080->80/tcp, 53/udp"

// Waits until the service is as it should be; shows how far it is, and why it does not get there. The exit code.
int wait_for_service(ServerLink& link, const std::string& space, const std::string& name, bool quiet,
                     std::int64_t patience_ms);

void add_service_commands(CLI::App& app, Context& context);
void add_deploy_command(CLI::App& app, Context& context);

}  // namespace berth::tools
