// Queues and licences.
#include <memory>

#include "state/units.h"
#include "tools/cli/list_commands.h"
#include "tools/cli/rows.h"
#include "tools/cli/server_link.h"
#include "tools/cli/text.h"

namespace berth::tools {

using namespace state;

namespace {

constexpr const char* kQueueGroup = "Administration";

template <class Page, class Row, class Rows>
int list(const Context& context, Format format, ClientRequest request, Rows Page::*rows) {
  ServerLink link(context);
  const auto page = link.call_for<Page>(std::move(request));
  if (!page) return fail(page.error());
  Output out;
  Listing<Row> listing(out, format, clock_us(), listing_width());
  for (const Row& row : (*page).*rows) listing.add(row);
  listing.finish();
  return out.finish();
}

// ---- queues ---------------------------------------------------------------------------------------------------------

struct QueueOptions {
  std::string name, priority, time, default_time, nodes, nodes_max, state, users, accounts, tier, preempt, format;
};

std::vector<std::string> listed_names(const std::string& text) {
  std::vector<std::string> names;
  for (std::string& name : split(text, ',')) {
    if (!name.empty()) names.push_back(std::move(name));
  }
  return names;
}

// What is not given stays.
Status change_queue(const QueueOptions& options, Queue& queue) {
  if (!options.priority.empty()) {
    const auto priority = parse_integer(options.priority, "priority", -1'000'000, 1'000'000);
    if (!priority) return priority.error();
    queue.priority = static_cast<std::int32_t>(*priority);
  }
  for (const auto& [text, field, to] : {std::tuple{&options.time, "time", &queue.time_limit_ms},
                                        std::tuple{&options.default_time, "default-time", &queue.time_default_ms}}) {
    if (text->empty()) continue;
    if (*text == "none") {
      *to = 0;
      continue;
    }
    const auto parsed = parse_duration_ms(*text, field);
    if (!parsed) return parsed.error();
    *to = *parsed;
  }
  if (!options.tier.empty()) {
    const auto tier = parse_integer(options.tier, "tier", -kTierMax, kTierMax);
    if (!tier) return tier.error();
    queue.tier = static_cast<std::int32_t>(*tier);
  }
  if (!options.preempt.empty()) {
    const auto preempt = parse_preempt(options.preempt, "preempt", false);
    if (!preempt) return preempt.error();
    queue.preempt = *preempt;
  }
  if (!options.nodes.empty()) queue.where = options.nodes == "all" ? "" : options.nodes;
  if (!options.nodes_max.empty()) {
    const auto most = parse_integer(options.nodes_max, "max-nodes", 0, kMaxGangSize);
    if (!most) return most.error();
    queue.nodes_max = static_cast<std::uint32_t>(*most);
  }
  if (!options.state.empty()) {
    using State = Queue::State;
    bool known = false;
    for (const State state : {State::kUp, State::kDown, State::kDraining, State::kInactive}) {
      if (name_of(state) != options.state) continue;
      queue.state = state;
      known = true;
    }
    if (!known) {
      return invalid("state", "'" + printable(options.state) +
                                  "' is no state of a queue; accepted: up, down (starts nothing), draining (takes "
                                  "nothing), inactive (neither)");
    }
  }
  if (!options.users.empty()) queue.users = options.users == "all" ? listed_names("") : listed_names(options.users);
  if (!options.accounts.empty())
    queue.accounts = options.accounts == "all" ? listed_names("") : listed_names(options.accounts);
  return Unit{};
}

int set_queue(const Context& context, const QueueOptions& options, bool create) {
  ServerLink link(context);
  QueueActionRequest request;
  request.queue.name = options.name;
  const auto page = link.call_for<QueuePage>(ListQueuesRequest{});
  if (!page) return fail(page.error());
  bool found = false;
  for (const Queue& queue : page->queues) {
    if (queue.name != options.name) continue;
    request.queue = queue;
    found = true;
  }
  if (!found && !create) {
    return report(Error{ErrorCode::kNotFound, "queue", "there is no queue '" + printable(options.name) + "'", 0});
  }
  if (Status good = change_queue(options, request.queue); !good) return report(good.error(), true);
  const auto done = link.call_for<Ok>(std::move(request));
  return done ? 0 : fail(done.error());
}

void add_queue_options(CLI::App* command, QueueOptions& options) {
  command->add_option("name", options.name, "the queue's name")->type_name("NAME")->required();
  command->add_option("-p,--priority", options.priority, "added to its jobs' priority (default: 0)")->type_name("N");
  command
      ->add_option("-t,--time", options.time,
                   "the longest a job may ask for, and what it gets if it asks for none; none for no limit")
      ->type_name("TIME");
  command->add_option("--default-time", options.default_time, "what a job gets that asks for none")->type_name("TIME");
  command
      ->add_option("--nodes", options.nodes,
                   "its jobs run on these nodes only: a condition, as in 'node in (n[1-20])' or gpu; all for all")
      ->type_name("CONDITION");
  command->add_option("--max-nodes", options.nodes_max, "the most nodes of one job; 0 for no limit")->type_name("N");
  command
      ->add_option("--tier", options.tier,
                   "jobs of a higher tier come before all of a lower one, and may take the room of those (default: 0)")
      ->type_name("N");
  command
      ->add_option("--preempt", options.preempt,
                   "what becomes of its running jobs when a higher tier needs their room (default: off)")
      ->type_name("off|requeue|cancel");
  command->add_option("--state", options.state, "up, down, draining or inactive")->type_name("STATE");
  command->add_option("--users", options.users, "who may use it; all for everybody")->type_name("NAMES");
  command->add_option("--accounts", options.accounts, "for which accounts; all for every one")->type_name("NAMES");
}

void add_queue_commands(CLI::App& app, Context& context) {
  CLI::App* queue = add_command(
      app, "queue", "List, add, change and remove queues",
      "A job waits in a queue, 'default' unless it names another. A queue adds its priority to its jobs', may have "
      "nodes of its own, bound its jobs' time and size, and say who may use it.",
      "berth queue ls\n"
      "berth queue add short --priority 100 --time 30m\n"
      "berth queue add gpu --nodes 'gpu & !old' --accounts physics,chemistry\n"
      "berth queue set gpu --state down\n"
      "berth queue add night --preempt requeue && berth queue set short --tier 1\n"
      "berth queue rm short");
  queue->group(kQueueGroup);
  queue->require_subcommand(1);
  auto options = std::make_shared<QueueOptions>();
  CLI::App* ls = add_command(*queue, "ls", "List the queues", "", "berth queue ls");
  add_format_option(ls, options->format, false);
  on_run(ls, context, [options, &context] {
    return list<QueuePage, Queue>(context, format_of(options->format), ListQueuesRequest{}, &QueuePage::queues);
  });
  CLI::App* add =
      add_command(*queue, "add", "Add a queue, or change one", "", "berth queue add short --priority 100 --time 30m");
  add_queue_options(add, *options);
  on_run(add, context, [options, &context] { return set_queue(context, *options, true); });
  CLI::App* set = add_command(*queue, "set", "Change a queue; what is not given stays", "",
                              "berth queue set short --state draining");
  add_queue_options(set, *options);
  on_run(set, context, [options, &context] { return set_queue(context, *options, false); });
  CLI::App* remove = add_command(*queue, "rm", "Remove a queue that has no jobs", "", "berth queue rm short");
  remove->add_option("name", options->name, "the queue's name")->type_name("NAME")->required();
  on_run(remove, context, [options, &context] {
    QueueActionRequest request;
    request.remove = true;
    request.queue.name = options->name;
    return act(context, std::move(request));
  });
}

// ---- licences -------------------------------------------------------------------------------------------------------

void add_licence_commands(CLI::App& app, Context& context) {
  struct Options {
    std::string name, format;
    std::uint64_t total = 0;
  };
  CLI::App* licence = add_command(app, "licence", "List, set and remove licences",
                                  "A licence is something of which the whole cluster has so many. A job that asks for "
                                  "some with --licence starts when they are free, and gives them back at its end.",
                                  "berth licence set matlab 10\nberth licence ls\nberth licence rm matlab");
  licence->group(kQueueGroup);
  licence->require_subcommand(1);
  auto options = std::make_shared<Options>();
  CLI::App* ls = add_command(*licence, "ls", "List the licences", "", "berth licence ls");
  add_format_option(ls, options->format, false);
  on_run(ls, context, [options, &context] {
    return list<LicencePage, LicenceRow>(context, format_of(options->format), ListLicencesRequest{},
                                         &LicencePage::licences);
  });
  CLI::App* set = add_command(*licence, "set", "Say how many there are", "", "berth licence set matlab 10");
  set->add_option("name", options->name, "the licence's name")->type_name("NAME")->required();
  set->add_option("total", options->total, "how many there are")->type_name("N")->required();
  on_run(set, context, [options, &context] {
    return act(context, LicenceActionRequest{false, {options->name, options->total}});
  });
  CLI::App* remove = add_command(*licence, "rm", "Remove a licence that no job wants", "", "berth licence rm matlab");
  remove->add_option("name", options->name, "the licence's name")->type_name("NAME")->required();
  on_run(remove, context, [options, &context] { return act(context, LicenceActionRequest{true, {options->name, 0}}); });
}

}  // namespace

Result<Preempt> parse_preempt(const std::string& text, const std::string& field, bool as_queue) {
  for (const Preempt one : {Preempt::kOff, Preempt::kRequeue, Preempt::kCancel, Preempt::kAsQueue}) {
    if (text == name_of(one) && (as_queue || one != Preempt::kAsQueue)) return one;
  }
  return invalid(field, "'" + printable(text) + "'; accepted: off, requeue, cancel" + (as_queue ? ", queue" : ""));
}

void add_queue_and_licence_commands(CLI::App& app, Context& context) {
  add_queue_commands(app, context);
  add_licence_commands(app, context);
}

}  // namespace berth::tools
