// `berth deploy`: services as files say, and nothing more is done than is needed for it.
#include <memory>
#include <set>
#include <span>

#include "state/units.h"
#include "tools/cli/deploy_file.h"
#include "tools/cli/list_commands.h"
#include "tools/cli/service_commands.h"
#include "tools/cli/terminal.h"
#include "tools/cli/text.h"

namespace berth::tools {

using namespace state;

namespace {

struct DeployOptions {
  std::vector<std::string> files;
  std::string space, timeout;
  bool diff = false, prune = false, detach = false;
};

// What an update would change, in words: "image, replicas 3 -> 5".
std::string changes(const ServiceDetail& now, const ServicePutRequest& next, const ServiceDetail& would) {
  std::vector<std::string> list;
  const Service& a = now.row.service;
  const Service& b = next.service;
  const auto differs = [&](bool different, const std::string& what) {
    if (different) list.push_back(what);
  };
  differs(a.status.replicas != b.status.replicas,
          "replicas " + std::to_string(a.status.replicas) + " -> " + std::to_string(b.status.replicas));
  differs(a.ports != would.row.service.ports, "ports");
  differs(a.update != b.update || a.rollback != b.rollback, "how it is updated");
  differs(a.restart != b.restart, "how it is restarted");
  differs(a.headless != b.headless || a.sticky != b.sticky, "how it is reached");
  const auto old = decode_launch(std::as_bytes(std::span(now.spec.launch)));
  const auto fresh = decode_launch(std::as_bytes(std::span(next.spec.launch)));
  if (old && fresh) {
    differs(old->image != fresh->image, "image " + old->image + " -> " + fresh->image);
    differs(old->argv != fresh->argv || old->script != fresh->script, "command");
    differs(old->env != fresh->env, "environment");
    differs(old->probe_live != fresh->probe_live || old->probe_ready != fresh->probe_ready ||
                old->probe_start != fresh->probe_start,
            "health");
    Launch rest = *fresh;
    rest.image = old->image;
    rest.argv = old->argv;
    rest.script = old->script;
    rest.env = old->env;
    rest.probe_live = old->probe_live;
    rest.probe_ready = old->probe_ready;
    rest.probe_start = old->probe_start;
    differs(rest != *old, "how it is run");
  }
  differs(now.spec.request.resources != next.spec.request.resources, "resources");
  JobSpec spec = would.spec;
  spec.launch = now.spec.launch;
  spec.request.resources = now.spec.request.resources;
  differs(spec != now.spec, "where it runs");
  return list.empty() ? "" : join(list, ", ");
}

struct Wanted {
  std::string at;
  ServicePutRequest request;
};

Error placed(const std::string& at, Error error) {
  error.message = at + ": " + (error.field.empty() ? "" : "'" + error.field + "': ") + error.message;
  error.field.clear();
  return error;
}

Result<std::vector<Wanted>> read_all(const DeployOptions& options, std::string& space) {
  std::vector<Wanted> wanted;
  std::set<std::string> names;
  const Surroundings here = this_process();
  for (const std::string& path : options.files) {
    auto file = read_deploy_file(path, here.environment);
    if (!file) return file.error();
    for (const std::string& line : file->notes) note("note: " + line);
    if (space.empty()) space = file->space;
    for (ServiceInFile& service : file->services) {
      service.draft.service.space = space.empty() ? std::string(kDefaultSpace) : space;
      auto request = build_service(service.draft, here);
      if (!request) return placed(service.at, request.error());
      if (!names.insert(request->service.name).second) {
        return invalid("", service.at + ": service '" + printable(request->service.name) + "' is given twice");
      }
      wanted.push_back({service.at, std::move(*request)});
    }
  }
  return wanted;
}

int deploy(const Context& context, const DeployOptions& options) {
  std::int64_t patience_ms = 0;
  if (!options.timeout.empty()) {
    const auto parsed = parse_duration_ms(options.timeout, "timeout");
    if (!parsed) return report(parsed.error(), true);
    patience_ms = *parsed;
  }
  std::string space = options.space;
  auto wanted = read_all(options, space);
  if (!wanted) return report(wanted.error(), true);
  if (space.empty()) space = kDefaultSpace;
  if (options.prune && space == kDefaultSpace && options.space.empty()) {
    return report(invalid("prune",
                          "the file has no name of its own: say with --namespace where services that it does "
                          "not have are removed"),
                  true);
  }
  ServerLink link(context);
  // All is checked before anything is changed.
  std::vector<std::string> lines;
  for (Wanted& one : *wanted) {
    ServicePutRequest check = one.request;
    check.dry_run = true;
    const std::string name = check.service.name;
    auto would = link.call_for<ServiceDetail>(std::move(check));
    if (!would) {
      if (ServerLink::is_lost(would.error())) return fail(would.error());
      return report(placed(one.at, would.error()));
    }
    if (!would->changed) {
      lines.push_back(name + ": unchanged");
      continue;
    }
    auto now = link.call_for<ServiceDetail>(ShowServiceRequest{name, space});
    const std::string what = now ? changes(*now, one.request, *would) : "new";
    lines.push_back(name + ": " + (now ? "changes: " : "") + what);
  }
  std::vector<std::string> gone;
  if (options.prune) {
    ListServicesRequest request;
    request.space = space;
    do {
      auto page = link.call_for<ServicePage>(request);
      if (!page) return fail(page.error());
      for (const ServiceRow& row : page->rows) {
        const bool kept = std::any_of(wanted->begin(), wanted->end(),
                                      [&](const Wanted& w) { return w.request.service.name == row.service.name; });
        if (!kept && !row.service.status.removing) gone.push_back(row.service.name);
      }
      request.after = page->next;
    } while (request.after);
  }
  Output out;
  for (const std::string& line : lines) out.write(printable(line) + "\n");
  for (const std::string& name : gone) out.write(name + ": is removed\n");
  if (options.diff) return out.finish();
  out.flush();
  for (Wanted& one : *wanted) {
    auto done = link.call_for<ServiceDetail>(one.request);
    if (!done) return report(placed(one.at, done.error()));
  }
  for (const std::string& name : gone) {
    auto done =
        link.call_for<ServiceDetail>(ServiceActionRequest{ServiceActionRequest::Action::kRemove, name, space, 0, 0});
    if (!done) return fail(done.error());
  }
  int code = 0;
  for (const Wanted& one : *wanted) {
    if (options.detach) break;
    const int waited = wait_for_service(link, space, one.request.service.name, false, patience_ms);
    if (code == 0) code = waited;
  }
  const int written = out.finish();
  return code != 0 ? code : written;
}

}  // namespace

void add_deploy_command(CLI::App& app, Context& context) {
  CLI::App* command = add_command(
      app, "deploy", "Make services as files say",
      "Reads Compose files, and Berth's own ('services:' with a list of the fields that 'berth service create' has "
      "options for); docs/services.md has every key. Services that are as the file says are left alone, others are "
      "made or updated; all is checked before anything is changed.",
      "berth deploy -f compose.yaml\n"
      "berth deploy -f compose.yaml --diff                  what would change?\n"
      "berth deploy -f shop.yaml --namespace shop --prune   and remove what the file no longer has");
  command->group("Services");
  auto options = std::make_shared<DeployOptions>();
  command->add_option("-f,--file", options->files, "the file, - for standard input; may be repeated")
      ->type_name("FILE")
      ->required();
  command->add_option("--namespace", options->space, "where its services are (default: the file's 'name', or default)")
      ->type_name("NAME");
  command->add_flag("--diff", options->diff, "say what would change, and change nothing");
  command->add_flag("--prune", options->prune, "remove the namespace's other services");
  command->add_flag("-d,--detach", options->detach, "do not wait until it is so");
  command->add_option("--timeout", options->timeout, "wait for so long at most for each (default: until it is decided)")
      ->type_name("TIME");
  on_run(command, context, [options, &context] { return deploy(context, *options); });
}

}  // namespace berth::tools
