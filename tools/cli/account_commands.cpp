// Accounts, their users, qualities of service, and why waiting jobs stand where they do.
#include <algorithm>
#include <map>
#include <memory>
#include <tuple>

#include "state/units.h"
#include "tools/cli/account_rows.h"
#include "tools/cli/job_name.h"
#include "tools/cli/list_commands.h"
#include "tools/cli/server_link.h"
#include "tools/cli/text.h"

namespace berth::tools {

using namespace state;

namespace {

constexpr const char* kGroup = "Administration";

// ---- limits ---------------------------------------------------------------------------------------------------------

struct LimitOption {
  Limit limit;
  const char* option;
  const char* type;
  const char* text;
};
constexpr LimitOption kLimitOptions[] = {
    {Limit::kJobs, "max-jobs", "N", "jobs that wait or run (more are refused)"},
    {Limit::kRunning, "max-running", "N", "jobs that run at once"},
    {Limit::kCpus, "max-cpus", "N", "cpus at once"},
    {Limit::kMemory, "max-memory", "SIZE", "memory at once"},
    {Limit::kGpus, "max-gpus", "N", "GPUs at once"},
    {Limit::kJobCpus, "max-job-cpus", "N", "cpus of one job"},
    {Limit::kJobMemory, "max-job-memory", "SIZE", "memory of one job"},
    {Limit::kJobGpus, "max-job-gpus", "N", "GPUs of one job"},
    {Limit::kJobNodes, "max-job-nodes", "N", "nodes of one job"},
    {Limit::kJobTime, "max-job-time", "TIME", "time limit of one job, and what a job gets that asks for none"},
};

struct LimitTexts {
  std::map<Limit, std::string> most;
  std::string over;
};

// `prefix`: "" or "user-".
void add_limit_options(CLI::App* command, LimitTexts& texts, const std::string& prefix, const std::string& of) {
  for (const LimitOption& one : kLimitOptions) {
    command
        ->add_option("--" + prefix + one.option, texts.most[one.limit],
                     "at most so " +
                         std::string(one.limit == Limit::kMemory || one.limit == Limit::kJobMemory ||
                                             one.limit == Limit::kJobTime
                                         ? "much: "
                                         : "many ") +
                         one.text + of + "; none for no limit")
        ->type_name(one.type);
  }
}

Status change_limits(const LimitTexts& texts, const std::string& prefix, Limits& limits) {
  for (const LimitOption& one : kLimitOptions) {
    const auto given = texts.most.find(one.limit);
    if (given == texts.most.end() || given->second.empty()) continue;
    std::int64_t& most = limits.most[static_cast<std::size_t>(one.limit)];
    const std::string& text = given->second;
    const std::string field = prefix + one.option;
    if (text == "none") {
      most = Limits::kNone;
      continue;
    }
    const auto take = [&](const auto& parsed) -> Status {
      if (!parsed) return parsed.error();
      most = static_cast<std::int64_t>(*parsed);
      return Unit{};
    };
    Status good = Unit{};
    switch (one.limit) {
      case Limit::kCpus:
      case Limit::kJobCpus:
        good = text == "0" ? take(Result<std::int64_t>(0)) : take(parse_cpu_milli(text, field));
        break;
      case Limit::kMemory:
      case Limit::kJobMemory:
        good = take(parse_mem_mib(text, field));
        break;
      case Limit::kJobTime:
        good = take(parse_duration_ms(text, field));
        break;
      default:
        good = take(parse_integer(text, field, 0, 1'000'000'000'000));
    }
    if (!good) return good;
  }
  if (texts.over.empty()) return Unit{};
  if (texts.over != "wait" && texts.over != "refuse") {
    return invalid("over-limit", "'" + printable(texts.over) + "'; accepted: wait or refuse");
  }
  limits.wait = texts.over == "wait";
  return Unit{};
}

void add_over_option(CLI::App* command, LimitTexts& texts) {
  command
      ->add_option("--over-limit", texts.over,
                   "whether a job over a limit of one job is refused (the default) or waits for the limit to change")
      ->type_name("wait|refuse");
}

std::vector<std::string> names_of(const std::string& text) {
  std::vector<std::string> names;
  if (text == "all") return names;
  for (std::string& name : split(text, ',')) {
    if (!name.empty()) names.push_back(std::move(name));
  }
  return names;
}

Status change_number(const std::string& text, const char* field, std::int64_t min, std::int64_t max, auto& to) {
  if (text.empty()) return Unit{};
  const auto parsed = parse_integer(text, field, min, max);
  if (!parsed) return parsed.error();
  to = static_cast<std::remove_reference_t<decltype(to)>>(*parsed);
  return Unit{};
}

// Asks for the page, changes what `change` finds there, and sends it. `change` returns an error that is a usage error.
template <class Change>
int change(const Context& context, Change&& change) {
  ServerLink link(context);
  const auto page = link.call_for<AccountPage>(ListAccountsRequest{});
  if (!page) return fail(page.error());
  Result<ClientRequest> request = change(*page);
  if (!request) return report(request.error(), request.error().code == ErrorCode::kInvalid);
  const auto done = link.call_for<Ok>(std::move(*request));
  return done ? 0 : fail(done.error());
}

Error absent(const std::string& what) { return {ErrorCode::kNotFound, "", "there is no " + what, 0}; }

// ---- accounts -------------------------------------------------------------------------------------------------------

struct AccountOptions {
  std::string name, parent, shares, description, format;
  LimitTexts limits;
};

Result<ClientRequest> changed_account(const AccountPage& page, const AccountOptions& options, bool create,
                                      bool has_parent, bool has_description) {
  AccountActionRequest request;
  request.account.name = options.name;
  const auto known = std::find_if(page.rows.begin(), page.rows.end(), [&](const ShareRow& row) {
    return row.user.empty() && row.account.name == options.name;
  });
  if (known == page.rows.end() && !create) return absent("account '" + printable(options.name) + "'");
  if (known != page.rows.end()) request.account = known->account;
  if (has_parent) request.account.parent = options.parent == "none" ? "" : options.parent;
  if (has_description) request.account.description = options.description;
  if (Status good = change_number(options.shares, "shares", 0, kSharesMax, request.account.shares); !good) {
    return good.error();
  }
  if (Status good = change_limits(options.limits, "", request.account.limits); !good) return good.error();
  return ClientRequest(std::move(request));
}

int list_accounts(const Context& context, Format format) {
  ServerLink link(context);
  const auto page = link.call_for<AccountPage>(ListAccountsRequest{});
  if (!page) return fail(page.error());
  Output out;
  Listing<ShareLine> listing(out, format, clock_us(), listing_width());
  for (const ShareLine& line : share_lines(*page)) listing.add(line);
  listing.finish();
  return out.finish();
}

void add_account_commands(CLI::App& app, Context& context) {
  CLI::App* account = add_command(
      app, "account", "List, add, change and remove accounts",
      "Jobs are charged to accounts. Accounts form a tree; each has shares beside its siblings, and limits on what all "
      "of its users' jobs and those of the accounts below it take. Who used less of his share is sooner next.",
      "berth account ls\n"
      "berth account add science --shares 3\n"
      "berth account add physics --parent science --max-cpus 512\n"
      "berth account set physics --max-running none\n"
      "berth account rm physics");
  account->group(kGroup);
  account->require_subcommand(1);
  auto options = std::make_shared<AccountOptions>();
  CLI::App* ls = add_command(*account, "ls", "List accounts and their users, with shares, use and limits",
                             "SHARE is the part of its siblings' shares, USED of what they used; what was used counts "
                             "the less the longer ago. FACTOR is 1 for the user whose jobs come first.",
                             "berth account ls -o wide");
  add_format_option(ls, options->format);
  on_run(ls, context, [options, &context] { return list_accounts(context, format_of(options->format)); });
  for (const bool create : {true, false}) {
    CLI::App* set = create ? add_command(*account, "add", "Add an account, or change one", "",
                                         "berth account add physics --parent science --shares 2")
                           : add_command(*account, "set", "Change an account; what is not given stays", "",
                                         "berth account set physics --max-cpus 512 --max-job-time 2d");
    set->add_option("name", options->name, "the account's name")->type_name("NAME")->required();
    auto* parent = set->add_option("--parent", options->parent, "the account above it; none for the top");
    parent->type_name("NAME");
    set->add_option("--shares", options->shares, "its part beside its siblings' (default: 1)")->type_name("N");
    auto* description = set->add_option("--description", options->description, "a note")->type_name("TEXT");
    add_limit_options(set, options->limits, "", " in it and below");
    add_over_option(set, options->limits);
    on_run(set, context, [=, &context] {
      return change(context, [&](const AccountPage& page) {
        return changed_account(page, *options, create, parent->count() != 0, description->count() != 0);
      });
    });
  }
  CLI::App* remove = add_command(*account, "rm", "Remove an account without users, jobs or accounts below it", "",
                                 "berth account rm physics");
  remove->add_option("name", options->name, "the account's name")->type_name("NAME")->required();
  on_run(remove, context, [options, &context] {
    AccountActionRequest request;
    request.remove = true;
    request.account.name = options->name;
    return act(context, std::move(request));
  });
}

// ---- users ----------------------------------------------------------------------------------------------------------

struct UserOptions {
  std::string name, account, shares, format;
  bool is_default = false;
  LimitTexts limits;
};

// The user's only account, if none is named.
Result<const ShareRow*> member_of(const AccountPage& page, const UserOptions& options) {
  std::vector<const ShareRow*> found;
  for (const ShareRow& row : page.rows) {
    const bool named = options.account.empty() ? !row.account.name.empty() : row.account.name == options.account;
    if (row.user == options.name && named) found.push_back(&row);
  }
  if (found.size() == 1) return found[0];
  if (found.empty()) {
    return absent("user '" + printable(options.name) + "' in " +
                  (options.account.empty() ? "any account" : "account '" + printable(options.account) + "'"));
  }
  std::string names;
  for (const ShareRow* row : found) names += (names.empty() ? "" : ", ") + row->account.name;
  return invalid("account", "user '" + printable(options.name) + "' is in several; name one of: " + names);
}

Result<ClientRequest> changed_user(const AccountPage& page, const UserOptions& options, bool create) {
  MemberActionRequest request;
  Member& member = request.member;
  const auto known = member_of(page, options);
  if (!known && (!create || options.account.empty())) return known.error();
  member = known
               ? Member{(*known)->account.name, options.name, (*known)->shares, (*known)->is_default, (*known)->limits}
               : Member{options.account, options.name, 1, false, {}};
  member.is_default = member.is_default || options.is_default;
  if (Status good = change_number(options.shares, "shares", 0, kSharesMax, member.shares); !good) return good.error();
  if (Status good = change_limits(options.limits, "", member.limits); !good) return good.error();
  return ClientRequest(std::move(request));
}

void add_user_commands(CLI::App& app, Context& context) {
  CLI::App* user = add_command(app, "user", "Say who is in which account",
                               "Once there are accounts, only their users (and administrators) may submit jobs. A user "
                               "may be in several; jobs that name none are charged to the default one.",
                               "berth user add ada --account physics --shares 2\n"
                               "berth user set ada --max-running 10\n"
                               "berth user rm ada --account physics");
  user->group(kGroup);
  user->require_subcommand(1);
  auto options = std::make_shared<UserOptions>();
  CLI::App* ls =
      add_command(*user, "ls", "List accounts and their users: the same as 'berth account ls'", "", "berth user ls");
  add_format_option(ls, options->format);
  on_run(ls, context, [options, &context] { return list_accounts(context, format_of(options->format)); });
  for (const bool create : {true, false}) {
    CLI::App* set = create ? add_command(*user, "add", "Add a user to an account, or change one", "",
                                         "berth user add ada --account physics")
                           : add_command(*user, "set", "Change a user in an account; what is not given stays", "",
                                         "berth user set ada --account physics --default");
    set->add_option("name", options->name, "the user's name")->type_name("USER")->required();
    auto* account = set->add_option("--account", options->account, "which account")->type_name("NAME");
    if (create) account->required();
    set->add_option("--shares", options->shares, "the user's part beside the others' (default: 1)")->type_name("N");
    set->add_flag("--default", options->is_default, "charge the user's jobs that name no account to this one");
    add_limit_options(set, options->limits, "", " of the user in it");
    add_over_option(set, options->limits);
    on_run(set, context, [=, &context] {
      return change(context, [&](const AccountPage& page) { return changed_user(page, *options, create); });
    });
  }
  CLI::App* remove =
      add_command(*user, "rm", "Take a user without jobs out of an account", "", "berth user rm ada --account physics");
  remove->add_option("name", options->name, "the user's name")->type_name("USER")->required();
  remove->add_option("--account", options->account, "which account, if there are several")->type_name("NAME");
  on_run(remove, context, [options, &context] {
    return change(context, [&](const AccountPage& page) -> Result<ClientRequest> {
      const auto known = member_of(page, *options);
      if (!known) return known.error();
      return ClientRequest(MemberActionRequest{true, {(*known)->account.name, options->name, 1, false, {}}});
    });
  });
}

// ---- qualities of service -------------------------------------------------------------------------------------------

struct QosOptions {
  std::string name, priority, usage, users, accounts, tier, preempt, format;
  LimitTexts limits, user_limits;
};

Result<ClientRequest> changed_qos(const AccountPage& page, const QosOptions& options, bool create) {
  QosActionRequest request;
  Qos& qos = request.qos;
  qos.name = options.name;
  const auto known =
      std::find_if(page.qos.begin(), page.qos.end(), [&](const QosRow& row) { return row.qos.name == options.name; });
  if (known == page.qos.end() && !create) return absent("quality of service '" + printable(options.name) + "'");
  if (known != page.qos.end()) qos = known->qos;
  if (Status good = change_number(options.priority, "priority", -1'000'000, 1'000'000, qos.priority); !good) {
    return good.error();
  }
  if (!options.usage.empty()) {
    const auto usage = options.usage == "0" ? Result<std::uint32_t>(0) : parse_cpu_milli(options.usage, "usage");
    if (!usage) return invalid("usage", "'" + printable(options.usage) + "'; accepted: a number such as 0.5 or 2");
    qos.usage_milli = *usage;
  }
  if (Status good = change_number(options.tier, "tier", -kTierMax, kTierMax, qos.tier); !good) return good.error();
  if (!options.preempt.empty()) {
    const auto preempt = parse_preempt(options.preempt, "preempt", true);
    if (!preempt) return preempt.error();
    qos.preempt = *preempt;
  }
  if (!options.users.empty()) qos.users = names_of(options.users);
  if (!options.accounts.empty()) qos.accounts = names_of(options.accounts);
  if (Status good = change_limits(options.limits, "", qos.limits); !good) return good.error();
  if (Status good = change_limits(options.user_limits, "user-", qos.user_limits); !good) return good.error();
  qos.user_limits.wait = qos.limits.wait;
  return ClientRequest(std::move(request));
}

void add_qos_commands(CLI::App& app, Context& context) {
  CLI::App* qos = add_command(
      app, "qos", "List, add, change and remove qualities of service",
      "A job asks for a quality of service with --qos. It adds its priority to the job's, has limits for all of its "
      "jobs and for each user's, and says what their use counts. Its limits hold beside those of the account.",
      "berth qos ls\n"
      "berth qos add long --max-cpus 256 --max-job-time 14d --user-max-running 4\n"
      "berth qos add urgent --priority 100 --usage 2 --users ada,bob\n"
      "berth qos rm long");
  qos->group(kGroup);
  qos->require_subcommand(1);
  auto options = std::make_shared<QosOptions>();
  CLI::App* ls = add_command(*qos, "ls", "List the qualities of service", "", "berth qos ls");
  add_format_option(ls, options->format, false);
  on_run(ls, context, [options, &context] {
    ServerLink link(context);
    const auto page = link.call_for<AccountPage>(ListAccountsRequest{});
    if (!page) return fail(page.error());
    Output out;
    Listing<QosRow> listing(out, format_of(options->format), clock_us(), listing_width());
    for (const QosRow& row : page->qos) listing.add(row);
    listing.finish();
    return out.finish();
  });
  for (const bool create : {true, false}) {
    CLI::App* set = create ? add_command(*qos, "add", "Add a quality of service, or change one", "",
                                         "berth qos add urgent --priority 100")
                           : add_command(*qos, "set", "Change a quality of service; what is not given stays", "",
                                         "berth qos set urgent --user-max-running 2");
    set->add_option("name", options->name, "its name")->type_name("NAME")->required();
    set->add_option("-p,--priority", options->priority, "added to its jobs' priority (default: 0)")->type_name("N");
    set->add_option("--usage", options->usage, "how often its jobs' use counts (default: 1)")->type_name("N");
    set->add_option("--tier", options->tier, "added to its jobs' queue's tier (default: 0)")->type_name("N");
    set->add_option("--preempt", options->preempt,
                    "what becomes of its running jobs when a higher tier needs their room (default: queue, what that "
                    "says)")
        ->type_name("off|requeue|cancel|queue");
    set->add_option("--users", options->users, "who may use it; all for everybody")->type_name("NAMES");
    set->add_option("--accounts", options->accounts, "for which accounts; all for every one")->type_name("NAMES");
    add_limit_options(set, options->limits, "", " of all its jobs");
    add_limit_options(set, options->user_limits, "user-", " of each user in it");
    add_over_option(set, options->limits);
    on_run(set, context, [=, &context] {
      return change(context, [&](const AccountPage& page) { return changed_qos(page, *options, create); });
    });
  }
  CLI::App* remove = add_command(*qos, "rm", "Remove a quality of service without jobs", "", "berth qos rm long");
  remove->add_option("name", options->name, "its name")->type_name("NAME")->required();
  on_run(remove, context, [options, &context] {
    QosActionRequest request;
    request.remove = true;
    request.qos.name = options->name;
    return act(context, std::move(request));
  });
}

}  // namespace

void add_charging_commands(CLI::App& app, Context& context) {
  add_account_commands(app, context);
  add_user_commands(app, context);
  add_qos_commands(app, context);
}

void add_priority_command(CLI::App& app, Context& context) {
  struct Options {
    std::vector<std::string> jobs;
    std::string format;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command = add_command(
      app, "priority", "Tell why waiting jobs stand where they do",
      "Jobs of a higher tier come first, then those of a higher priority: the job's own, its queue's and its quality "
      "of service's. Among equals who stands for "
      "longest is next: STANDS FOR is WAITED, and the head start that the user's SHARE gives, less what the job's "
      "expected SIZE puts it back. Without jobs named: all that wait.",
      "berth priority\nberth priority 12 13 -o json");
  command->group("Jobs");
  command->add_option("jobs", options->jobs, "jobs")->type_name("JOB")->allow_extra_args();
  add_format_option(command, options->format, false);
  on_run(command, context, [options, &context] {
    PriorityRequest request;
    if (!options->jobs.empty()) {
      auto jobs = parse_job_ids(options->jobs);
      if (!jobs) return report(jobs.error(), true);
      request.jobs = std::move(*jobs);
    }
    ServerLink link(context);
    Output out;
    std::vector<PriorityRow> rows;
    do {
      const auto page = link.call_for<PriorityPage>(request);
      if (!page) return fail(page.error());
      rows.insert(rows.end(), page->rows.begin(), page->rows.end());
      request.after = page->next;
    } while (request.after != JobId{});
    std::stable_sort(rows.begin(), rows.end(), [](const PriorityRow& a, const PriorityRow& b) {
      const auto key = [](const PriorityRow& r) {
        return std::tuple{r.tier, std::int64_t{r.own} + r.of_queue + r.of_qos,
                          r.waited_ms + r.head_start_ms - r.delay_ms};
      };
      return key(a) > key(b);
    });
    Listing<PriorityRow> listing(out, format_of(options->format), clock_us(), listing_width());
    for (const PriorityRow& row : rows) listing.add(row);
    listing.finish();
    return out.finish();
  });
}

}  // namespace berth::tools
