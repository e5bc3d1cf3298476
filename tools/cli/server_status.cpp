#include "tools/cli/server_status.h"

#include <algorithm>
#include <memory>

#include "state/units.h"
#include "tools/cli/json.h"
#include "tools/cli/list_commands.h"
#include "tools/cli/rows.h"
#include "tools/cli/server_link.h"
#include "tools/cli/table.h"
#include "tools/cli/terminal.h"
#include "tools/cli/text.h"

namespace berth::tools {

using namespace state;

namespace {

constexpr const char* kStatusDescription =
    "The first server that answers tells it, a standby as well. With a store of its own (the default) a server is the "
    "only one. Servers that share a store are listed with the batch of the journal that each has applied.";

constexpr const char* kStatusExamples =
    "berth server status\n"
    "berth --server head1:7117,head2:7117,head3:7117 server status -o json";

std::uint64_t lag_of(const StoreInfo& store, const ServerRow& row) {
  if (row.leads) return 0;
  return store.durable_index > row.applied_index ? store.durable_index - row.applied_index : 0;
}

void print_json(Output& out, const ServerInfo& info) {
  const StoreInfo& store = info.store;
  JsonWriter json(out);
  json.begin_object();
  json.field("cluster", std::string_view(info.cluster)).field("version", std::string_view(info.version));
  json.time("started_at", info.started_at).field("store", std::string_view(store.where));
  json.field("standby", store.standby).field("error", std::string_view(store.error));
  json.field("journal_index", store.durable_index).field("snapshot_index", store.snapshot_index);
  json.field("snapshot_error", std::string_view(store.snapshot_error));
  json.field("leader", std::string_view(store.leader)).field("term", store.term).field("lease_ms", store.lease_ms);
  json.key("servers").begin_array();
  for (const ServerRow& row : store.servers) {
    json.begin_object().field("name", std::string_view(row.name)).field("address", std::string_view(row.address));
    json.field("version", std::string_view(row.version)).field("leads", row.leads);
    json.field("applied_index", row.applied_index).field("lag", lag_of(store, row)).field("heard_ms", row.heard_ms);
    json.end_object();
  }
  json.end_array().end_object().end_document();
}

void print_text(Output& out, const ServerInfo& info) {
  const StoreInfo& store = info.store;
  const auto line = [&](const std::string& name, const std::string& value) {
    out.write(name + std::string(12 - name.size(), ' ') + printable(value) + "\n");
  };
  const bool shared = store.lease_ms != 0;
  line("cluster", info.cluster);
  line("answered by", std::string(!shared         ? "the server"
                                  : store.standby ? "a standby"
                                                  : "the leader") +
                          ", berth " + info.version + ", since " + format_time(info.started_at));
  line("store", store.where + (shared ? "" : " (embedded)"));
  if (shared) {
    line("leader", store.leader.empty() ? "none just now"
                                        : store.leader + ", term " + std::to_string(store.term) + ", lease " +
                                              format_duration_ms(store.lease_ms));
  }
  line("journal", "batch " + std::to_string(store.durable_index) + " is durable");
  line("snapshot", store.snapshot_index == 0 ? "none yet" : "batch " + std::to_string(store.snapshot_index));
  if (!store.snapshot_error.empty()) line("", "no newer one: " + store.snapshot_error);
  if (!store.error.empty()) line("trouble", store.error);
  if (!shared) return;
  out.write("\n");
  Table table(out, {{"SERVER"}, {"ADDRESS"}, {"VERSION"}, {"ROLE"}, {"APPLIED", true}, {"LAG", true}, {"HEARD", true}},
              listing_width());
  for (const ServerRow& row : store.servers) {
    constexpr std::int64_t kSilentMs = 5'000;
    const bool silent = row.heard_ms > kSilentMs;
    table.add({{printable(row.name)},
               {printable(row.address)},
               {printable(row.version)},
               {row.leads ? "leader"
                : silent  ? "silent"
                          : "standby",
                silent ? Colour::kYellow : Colour::kNone},
               {std::to_string(row.leads ? store.durable_index : row.applied_index)},
               {std::to_string(lag_of(store, row))},
               {format_duration_ms(row.heard_ms / 1000 * 1000) + " ago"}});
  }
  table.finish();
}

int show_status(const Context& context, Format format) {
  ServerLink link(context, wire::PeerRole::kStatus);
  const auto info = link.call_for<ServerInfo>(ServerInfoRequest{});
  if (!info) return fail(info.error());
  Output out;
  if (format == Format::kJson) {
    print_json(out, *info);
  } else {
    print_text(out, *info);
  }
  return out.finish();
}

}  // namespace

CLI::App* add_server_status(CLI::App& server, Context& context) {
  auto format = std::make_shared<std::string>();
  CLI::App* command = add_command(server, "status", "Tell who leads, who stands by, and where the journal is",
                                  kStatusDescription, kStatusExamples);
  add_format_option(command, *format, false);
  on_run(command, context, [format, &context] { return show_status(context, format_of(*format)); });
  return command;
}

}  // namespace berth::tools
