// Nodes, tokens, the server's state, and a user's own identity.
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <memory>
#include <sys/stat.h>
#include <unistd.h>

#include "api/wire/enrol.h"
#include "api/wire/servers.h"
#include "state/units.h"
#include "tools/cli/events_command.h"
#include "tools/cli/history_commands.h"
#include "tools/cli/image_commands.h"
#include "tools/cli/job_name.h"
#include "tools/cli/list_commands.h"
#include "tools/cli/rows.h"
#include "tools/cli/server_link.h"
#include "tools/cli/service_commands.h"
#include "tools/cli/terminal.h"
#include "tools/cli/text.h"
#include "tools/cli/top_command.h"

namespace berth::tools {

using namespace state;

namespace {

constexpr const char* kAdminGroup = "Administration";

// ---- nodes ----------------------------------------------------------------------------------------------------------

// Until nothing runs on the node any more; says how much there is left.
int wait_until_empty(const Context& context, const std::string& name) {
  constexpr std::int64_t kPollMs = 200;
  ServerLink link(context);
  Interrupts interrupts;
  std::uint32_t shown = 0;
  while (true) {
    ListNodesRequest request;
    std::optional<std::uint32_t> pods;
    do {
      auto page = link.call_patiently_for<NodePage>(request);
      if (!page) return fail(page.error());
      for (const NodeRow& row : page->rows) {
        if (row.info.name == name) pods = row.pods;
      }
      request.after = page->next;
    } while (!pods && request.after);
    if (!pods || *pods == 0) return 0;
    if (*pods != shown) note(counted(*pods, "pod") + " left on " + name);
    shown = *pods;
    sleep_ms(kPollMs, &interrupts);
    if (interrupts.take()) return 130;
  }
}

void add_node_action(CLI::App& app, Context& context, NodeActionRequest::Action action, const std::string& name,
                     const std::string& summary, const std::string& description, const std::string& examples,
                     bool drains) {
  CLI::App* command = add_command(app, name, summary, description, examples);
  command->group(kAdminGroup);
  struct Options {
    NodeActionRequest request;
    bool wait = false;
  };
  auto options = std::make_shared<Options>();
  options->request.action = action;
  command->add_option("node", options->request.node, "the node's name")->type_name("NODE")->required();
  if (drains) {
    command->add_option("-r,--reason", options->request.reason, "why, for whoever asks")->type_name("TEXT");
    command->add_flag("-w,--wait", options->wait, "wait until nothing runs on it any more");
  }
  on_run(command, context, [options, &context] {
    const int code = act(context, options->request);
    return code == 0 && options->wait ? wait_until_empty(context, options->request.node) : code;
  });
}

void add_node_commands(CLI::App& app, Context& context) {
  using Action = NodeActionRequest::Action;
  add_node_action(app, context, Action::kDrain, "drain", "Let a node take nothing new",
                  "Jobs' pods that run on it go on to their end. Services' replicas move: another is ready elsewhere "
                  "before each is stopped.",
                  "berth drain n17 --reason 'broken fan'\nberth drain n17 --wait     until it is empty", true);
  add_node_action(app, context, Action::kResume, "resume", "Let a drained node take pods again", "", "berth resume n17",
                  false);
  CLI::App* node = add_command(app, "node", "Remove nodes", "", "berth node rm n17");
  node->group(kAdminGroup);
  node->require_subcommand(1);
  add_node_action(*node, context, Action::kRemove, "rm", "Remove a node that is gone for good",
                  "Its agent must be stopped, and its pods ended or given up.", "berth node rm n17", false);
}

// ---- tokens ---------------------------------------------------------------------------------------------------------

struct TokenOptions {
  std::string user, expires = "24h", id, format;
};

int create_token(const Context& context, const TokenOptions& options, bool replace) {
  TokenCreateRequest request;
  request.role = options.user.empty() ? TokenRole::kNode : TokenRole::kUser;
  request.user = options.user;
  request.replace = replace;
  const auto ttl = parse_duration_ms(options.expires, "expires");
  if (!ttl) return report(ttl.error(), true);
  request.ttl_ms = *ttl;
  ServerLink link(context);
  const auto made = link.call_for<TokenCreated>(std::move(request));
  if (!made) return fail(made.error());
  Output out;
  out.write(made->token + "\n");
  return out.finish();
}

int list_tokens(const Context& context, Format format) {
  ServerLink link(context);
  const auto page = link.call_for<TokenPage>(TokenListRequest{});
  if (!page) return fail(page.error());
  Output out;
  Listing<Token> listing(out, format, clock_us(), listing_width());
  for (const Token& token : page->tokens) listing.add(token);
  listing.finish();
  return out.finish();
}

void add_token_commands(CLI::App& app, Context& context) {
  CLI::App* token = add_command(
      app, "token", "Tokens with which nodes and remote users join",
      "A token proves that whoever has it may join, as often as he likes, until it expires or is revoked. It "
      "carries the fingerprint of the cluster's authority, so that it cannot be used with an impostor. The server "
      "keeps only its hash: it is shown once.",
      "berth agent --join head:7117 --token $(berth token create)\n"
      "berth token create --for-user alice      for 'berth login' on another machine\n"
      "berth token rotate                       a new one, and no other is good any more");
  token->group(kAdminGroup);
  token->require_subcommand(1);
  auto options = std::make_shared<TokenOptions>();
  const auto with_options = [&](CLI::App* command) {
    command->add_option("--for-user", options->user, "for this user instead of for nodes")->type_name("USER");
    command->add_option("--expires", options->expires, "how long it is good (default: 24h)")->type_name("TIME");
  };
  CLI::App* create = add_command(*token, "create", "Make a token and print it", "", "berth token create --expires 1h");
  with_options(create);
  on_run(create, context, [options, &context] { return create_token(context, *options, false); });
  CLI::App* rotate =
      add_command(*token, "rotate", "Make a token and revoke the others of its kind", "", "berth token rotate");
  with_options(rotate);
  on_run(rotate, context, [options, &context] { return create_token(context, *options, true); });
  CLI::App* list = add_command(*token, "list", "List the tokens, without their secrets", "", "berth token list");
  list->alias("ls");
  add_format_option(list, options->format, false);
  on_run(list, context, [options, &context] { return list_tokens(context, format_of(options->format)); });
  CLI::App* revoke = add_command(*token, "revoke", "Revoke a token", "Who has joined with it stays.",
                                 "berth token revoke 0f3a9c27b1de");
  revoke->add_option("id", options->id, "its id, as listed")->type_name("ID")->required();
  on_run(revoke, context, [options, &context] { return act(context, TokenRevokeRequest{options->id}); });
}

// ---- login ----------------------------------------------------------------------------------------------------------

Status write_private(const std::string& path, const std::string& text) {
  const std::string temporary = path + ".new";
  const int fd = open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  int error = fd < 0 ? errno : write_all(fd, text);
  if (fd >= 0) close(fd);
  if (error == 0 && rename(temporary.c_str(), path.c_str()) != 0) error = errno;
  if (error == 0) return Unit{};
  return Error{ErrorCode::kDenied, "", "cannot write " + path + ": " + std::strerror(error), 0};
}

int login(const Context& context, const std::string& server, const std::string& token) {
  const auto endpoints = wire::parse_endpoints(server, "server");
  if (!endpoints) return report(endpoints.error(), true);
  for (const wire::Endpoint& endpoint : *endpoints) {
    if (endpoint.is_unix)
      return report(invalid("server", "a local socket needs no login; name the server as HOST:PORT"), true);
  }
  constexpr std::int64_t kTimeoutMs = 10'000;
  const auto got = wire::enrol(server, token, "", kTimeoutMs);
  if (!got) return report(got.error(), got.error().field == "token" && got.error().code == ErrorCode::kInvalid);
  const std::string& directory = context.identity_dir;
  for (std::size_t at = directory.find('/', 1);; at = directory.find('/', at + 1)) {
    mkdir(directory.substr(0, at).c_str(), 0700);
    if (at == std::string::npos) break;
  }
  // The server's address last: where it is, the rest is whole.
  for (const auto& [name, text] : {std::pair<const char*, std::string>{"/authority.crt", got->authority_pem},
                                   {"/user.key", got->key_pem},
                                   {"/user.crt", got->certificate_pem},
                                   {"/server", server + "\n"}}) {
    if (Status written = write_private(directory + name, text); !written) return report(written.error());
  }
  Output out;
  out.write("commands of this user now speak to " + server + "\n");
  return out.finish();
}

void add_login_command(CLI::App& app, Context& context) {
  struct Options {
    std::string server, token;
  };
  CLI::App* command = add_command(
      app, "login", "Use a cluster from another machine",
      "Gets a certificate for a token that an administrator made with 'berth token create --for-user', and keeps "
      "it in ~/.config/berth. Commands then speak to that server.",
      "berth login head.example.org:7117 --token berth1-...");
  command->group(kAdminGroup);
  auto options = std::make_shared<Options>();
  command->add_option("address", options->server, "the server, or several with commas between")
      ->type_name("HOST:PORT")
      ->required();
  command->add_option("--token", options->token, "the token")->type_name("TOKEN")->required();
  on_run(command, context, [options, &context] { return login(context, options->server, options->token); });
}

// ---- status ---------------------------------------------------------------------------------------------------------

std::string accounting_text(const ServerInfo& info) {
  if (info.accounting.empty()) return "none";
  std::string text = info.accounting;
  if (info.accounting_waiting != 0) text += ", " + counted(info.accounting_waiting, "job") + " to be written";
  if (!info.accounting_error.empty()) text += ": " + info.accounting_error;
  return printable(text);
}

int status(const Context& context, Format format) {
  ServerLink link(context);
  const auto info = link.call_for<ServerInfo>(ServerInfoRequest{});
  if (!info) return fail(info.error());
  Output out;
  if (format == Format::kJson) {
    JsonWriter json(out);
    json.begin_object();
    json.field("version", std::string_view(info->version)).field("cluster", std::string_view(info->cluster));
    json.time("started_at", info->started_at).field("journal_index", info->journal_index);
    json.field("jobs", info->jobs).field("pods_pending", info->pods_pending).field("pods_live", info->pods_live);
    json.field("nodes", info->nodes).field("nodes_connected", info->nodes_connected);
    json.field("start_latency_p50_us", info->start_latency_p50_us)
        .field("start_latency_p99_us", info->start_latency_p99_us);
    json.key("accounting").begin_object().field("database", std::string_view(info->accounting));
    json.field("error", std::string_view(info->accounting_error)).field("journal_index", info->accounting_index);
    json.field("jobs_waiting", info->accounting_waiting).end_object();
    json.end_object().end_document();
    return out.finish();
  }
  const auto line = [&](const char* name, const std::string& value) {
    out.write(std::string(name) + std::string(18 - std::strlen(name), ' ') + value + "\n");
  };
  line("server", "berth " + info->version + ", cluster " + info->cluster + ", since " + format_time(info->started_at));
  line("nodes", std::to_string(info->nodes_connected) + " of " + std::to_string(info->nodes) + " connected");
  line("jobs", std::to_string(info->jobs));
  line("pods", std::to_string(info->pods_live) + " on nodes, " + std::to_string(info->pods_pending) + " waiting");
  line("journal", "batch " + std::to_string(info->journal_index));
  line("accounting", accounting_text(*info));
  const auto ms = [](std::uint64_t us) { return format_duration_ms(static_cast<std::int64_t>((us + 999) / 1000)); };
  line("submit to start", "p50 " + ms(info->start_latency_p50_us) + ", p99 " + ms(info->start_latency_p99_us));
  return out.finish();
}

void add_status_command(CLI::App& app, Context& context) {
  auto format = std::make_shared<std::string>();
  CLI::App* command = add_command(app, "status", "Tell how the server is", "", "berth status\nberth status -o json");
  command->group(kAdminGroup);
  add_format_option(command, *format, false);
  on_run(command, context, [format, &context] { return status(context, format_of(*format)); });
}

}  // namespace

void add_admin_commands(CLI::App& app, Context& context) {
  add_history_commands(app, context);
  add_nodes_command(app, context);
  add_node_commands(app, context);
  add_image_commands(app, context);
  add_top_command(app, context);
  add_events_command(app, context);
  add_service_commands(app, context);
  add_deploy_command(app, context);
  add_queue_and_licence_commands(app, context);
  add_charging_commands(app, context);
  add_token_commands(app, context);
  add_login_command(app, context);
  add_status_command(app, context);
}

}  // namespace berth::tools
