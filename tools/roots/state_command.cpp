#include "tools/roots/state_command.h"

#include <fmt/format.h>
#include <memory>

#include "state/memory_use.h"
#include "state/store/inspect.h"
#include "state/units.h"
#include "tools/cli/output.h"
#include "tools/cli/text.h"
#include "tools/roots/state_dump.h"

namespace berth::tools {

using namespace state;
using store::Inspection;

namespace {

constexpr const char* kStateDescription =
    "Looks into a server's data directory: the journal and the snapshots. No server may run on it; nothing is "
    "changed,\n"
    "but by 'repair', which keeps all that was there.";

constexpr const char* kStateExamples =
    "  berth state check /var/lib/berth             is everything there, and does it fit together?\n"
    "  berth state dump /var/lib/berth --from 1200  what happened from batch 1200 on\n"
    "  berth state stats /var/lib/berth             where the bytes are";

struct StateOptions {
  std::string directory, format;
  std::uint64_t from = 1, to = UINT64_MAX;
  bool dry_run = false;
};

// ---- words ----------------------------------------------------------------------------------------------------------

std::string batches(std::uint64_t first, std::uint64_t last) {
  if (last < first) return "no batch";
  if (last == first) return fmt::format("batch {}", first);
  return fmt::format("batches {} to {}", first, last);
}

std::string batch_count(std::uint64_t count) { return fmt::format("{} {}", count, count == 1 ? "batch" : "batches"); }

std::string bytes_text(std::uint64_t bytes) {
  if (bytes < 1024) return fmt::format("{} B", bytes);
  if (bytes < 1024 * 1024) return fmt::format("{:.1f} KiB", static_cast<double>(bytes) / 1024);
  return fmt::format("{:.1f} MiB", static_cast<double>(bytes) / (1024 * 1024));
}

std::string events_text(const std::map<std::string, std::uint64_t>& events) {
  std::vector<std::string> parts;
  for (const auto& [name, count] : events) parts.push_back(fmt::format("{} {}", count, name));
  return join(parts, ", ");
}

std::string reached_text(const Inspection& found) {
  std::string text = found.last_index == 0 ? "nothing" : "everything up to batch " + std::to_string(found.last_index);
  if (found.base_snapshot != 0) text += fmt::format(" (from the snapshot of batch {} on)", found.base_snapshot);
  return text;
}

// ---- check ----------------------------------------------------------------------------------------------------------

int check(const StateOptions& options) {
  auto found = store::inspect(options.directory);
  if (!found) return report(found.error());
  Output out;
  for (const auto& file : found->snapshots) {
    if (file.whole) out.write(fmt::format("{}: batch {}, {}\n", file.path, file.last_index, bytes_text(file.bytes)));
  }
  for (const auto& file : found->segments) {
    if (file.whole)
      out.write(
          fmt::format("{}: {}, {}\n", file.path, batches(file.first_index, file.last_index), bytes_text(file.bytes)));
  }
  for (const std::string& line : found->notes) out.write("note: " + printable(line) + "\n");
  for (const std::string& line : found->faults) out.write("fault: " + printable(line) + "\n");
  if (found->faults.empty()) {
    const Cluster& cluster = found->cluster;
    out.write(fmt::format("all is well up to batch {}: {}, {} on {}, state {:016x}\n", found->last_index,
                          counted(cluster.jobs().size(), "job"), counted(cluster.live_pods().size(), "pod"),
                          counted(cluster.nodes().size(), "node"), cluster.hash()));
    return out.finish();
  }
  if (const int code = out.finish(); code != 0) return code;
  return report(Error{ErrorCode::kInternal, "",
                      fmt::format("{} in {}; what can be had is {} ('berth state repair' keeps that)",
                                  counted(found->faults.size(), "fault"), options.directory, reached_text(*found)),
                      0});
}

// ---- dump -----------------------------------------------------------------------------------------------------------

int dump(const StateOptions& options) {
  if (options.to < options.from)
    return report(invalid("to", fmt::format("{} is before --from {}", options.to, options.from)), true);
  Output out;
  JsonWriter json(out);
  const bool as_json = options.format == "json";
  if (as_json) json.begin_array();
  const auto faults =
      store::each_batch(options.directory, [&](std::uint64_t index, std::span<const std::byte> payload) {
        if (index > options.to) return false;
        if (index < options.from) return true;
        if (as_json) {
          dump_json(json, payload);
        } else {
          dump_text(out, payload);
        }
        return !out.failed();
      });
  if (as_json) {
    json.end_array();
    json.end_document();
  }
  if (!faults) return report(faults.error());
  int code = out.finish();
  for (const std::string& line : *faults) code = report(Error{ErrorCode::kInternal, "", line, 0});
  return code;
}

// ---- repair ---------------------------------------------------------------------------------------------------------

// Whether the server would start by itself: what stays of a tail it cuts, and a newer snapshot it can do without.
int repair(const StateOptions& options) {
  auto found = store::inspect(options.directory);
  if (!found) return report(found.error());
  Output out;
  for (const std::string& line : found->notes) out.write("note: " + printable(line) + "\n");
  if (found->faults.empty()) {
    out.write("nothing to repair: all is well up to batch " + std::to_string(found->last_index) + "\n");
    return out.finish();
  }
  for (const std::string& line : found->faults) out.write("fault: " + printable(line) + "\n");
  out.write("keeps: " + reached_text(*found) + "\n");
  for (const auto& gone : found->unreadable) {
    out.write(fmt::format("drops: {} bytes {} to {}: cannot be read", gone.path, gone.from, gone.end));
    if (gone.end_index > gone.first_index) out.write(", were " + batches(gone.first_index, gone.end_index - 1));
    out.write("\n");
  }
  if (found->batches_behind != 0) {
    out.write(fmt::format("drops: {} behind that, of {}, which can be read but no longer follow: {}\n",
                          batch_count(found->batches_behind), batches(found->first_behind, found->last_behind),
                          events_text(found->events_behind)));
  }
  if (options.dry_run) {
    out.write("nothing was changed (--dry-run)\n");
    return out.finish();
  }
  const auto kept = store::repair(options.directory, *found);
  if (!kept) {
    out.flush();
    return report(kept.error());
  }
  out.write("repaired; all that was there is in " + *kept + "\n");
  return out.finish();
}

// ---- stats ----------------------------------------------------------------------------------------------------------

int stats(const StateOptions& options) {
  auto found = store::inspect(options.directory);
  if (!found) return report(found.error());
  if (!found->faults.empty()) {
    return report(Error{ErrorCode::kInternal, "", found->faults.front() + " ('berth state check' tells all)", 0});
  }
  std::uint64_t journal = 0, snapshots = 0;
  for (const auto& file : found->segments) journal += file.bytes;
  for (const auto& file : found->snapshots) snapshots += file.bytes;
  const MemoryUse use = memory_use(found->cluster);
  const std::uint64_t pods = use.count_of("running pods"), waiting = use.count_of("waiting elements");
  const auto each = [](std::uint64_t bytes, std::uint64_t count) {
    return count == 0 ? 0.0 : static_cast<double>(bytes) / static_cast<double>(count);
  };
  Output out;
  if (options.format == "json") {
    JsonWriter json(out);
    json.begin_object().key("disk").begin_object();
    json.field("journal_bytes", journal).field("segments", std::uint64_t{found->segments.size()});
    json.field("snapshot_bytes", snapshots).field("snapshots", std::uint64_t{found->snapshots.size()}).end_object();
    json.field("journal_index", found->last_index).field("batches", found->batches).key("events").begin_object();
    for (const auto& [name, count] : found->events) json.field(name, count);
    json.end_object().key("memory").begin_array();
    for (const auto& kind : use.kinds) {
      json.begin_object().field("kind", std::string_view(kind.name)).field("count", kind.count);
      json.field("bytes", kind.bytes).end_object();
    }
    json.end_array().field("memory_bytes", use.total());
    json.field("bytes_per_running_pod", each(use.bytes_of("running pods"), pods));
    json.field("bytes_per_waiting_element", each(use.bytes_of("waiting elements"), waiting)).end_object();
    json.end_document();
    return out.finish();
  }
  const auto line = [&](const std::string& name, std::uint64_t count, std::uint64_t bytes) {
    out.write(fmt::format("{:<18}{:>12}{:>14}{:>12}\n", name, count, bytes_text(bytes),
                          count == 0 ? "" : fmt::format("{:.1f} B", each(bytes, count))));
  };
  out.write(fmt::format("{:<18}{:>12}{:>14}{:>12}\n", "ON DISK", "FILES", "SIZE", ""));
  out.write(fmt::format("{:<18}{:>12}{:>14}\n", "journal", found->segments.size(), bytes_text(journal)));
  out.write(fmt::format("{:<18}{:>12}{:>14}\n\n", "snapshots", found->snapshots.size(), bytes_text(snapshots)));
  out.write(fmt::format("{:<18}{:>12}{:>14}{:>12}\n", "IN MEMORY", "COUNT", "SIZE", "EACH"));
  for (const auto& kind : use.kinds) line(kind.name, kind.count, kind.bytes);
  out.write(fmt::format("{:<18}{:>12}{:>14}\n\n", "all", "", bytes_text(use.total())));
  out.write(fmt::format("{} in the journal: {}\n", batch_count(found->batches), events_text(found->events)));
  return out.finish();
}

// ---- the table ------------------------------------------------------------------------------------------------------

CLI::App* add(CLI::App& parent, const std::shared_ptr<StateOptions>& options, const char* name, const char* summary,
              const char* description, const char* examples) {
  CLI::App* command = add_command(parent, name, summary, description, examples);
  command->add_option("directory", options->directory, "the server's data directory")->type_name("DIR")->required();
  return command;
}

CLI::Option* add_format(CLI::App* command, StateOptions& options, const char* otherwise) {
  return command->add_option("-o,--output", options.format, std::string(otherwise) + " (the default), or json")
      ->type_name(std::string(otherwise) + "|json")
      ->check(CLI::IsMember(std::vector<std::string>{otherwise, "json"}));
}

}  // namespace

void add_state_command(CLI::App& app, Context& context) {
  auto options = std::make_shared<StateOptions>();
  CLI::App* state = add_command(app, "state", "Look into a server's data directory", kStateDescription, kStateExamples);
  state->group("Administration");
  state->require_subcommand(1);
  CLI::App* command =
      add(*state, options, "check", "Check the journal, the snapshots, and that they fit together",
          "Reads every file, checks every checksum, replays the journal over every snapshot on the way, "
          "and checks the rules of the state. A line a fault, with file and offset; exit code 1 if there "
          "is any.",
          "berth state check /var/lib/berth");
  on_run(command, context, [options] { return check(*options); });
  command = add(*state, options, "dump", "Print the events of the journal",
                "A line an event. What cannot be read is passed over, told on standard error, and exit code 1.",
                "berth state dump /var/lib/berth --from 1200 --to 1300\nberth state dump /var/lib/berth -o json");
  command->add_option("--from", options->from, "from this batch on")->type_name("INDEX")->check(CLI::NonNegativeNumber);
  command->add_option("--to", options->to, "up to this batch")->type_name("INDEX")->check(CLI::NonNegativeNumber);
  add_format(command, *options, "text");
  on_run(command, context, [options] { return dump(*options); });
  command =
      add(*state, options, "repair", "Make a damaged data directory usable again",
          "Keeps the state as far as it can be had, as a snapshot, and drops what is behind the damage; says what "
          "that is. All that was there stays, in before-repair-N in the same directory, for 'berth state dump'. A "
          "tail that was torn by a crash needs no repair: the server cuts it when it starts.",
          "berth state repair --dry-run /var/lib/berth      what would be dropped?\n"
          "berth state repair /var/lib/berth");
  command->add_flag("--dry-run", options->dry_run, "only say what would be done");
  on_run(command, context, [options] { return repair(*options); });
  command = add(*state, options, "stats", "Tell where the bytes are, on disk and in memory",
                "Loads the state as a server would.", "berth state stats /var/lib/berth -o json");
  add_format(command, *options, "table");
  on_run(command, context, [options] { return stats(*options); });
}

}  // namespace berth::tools
