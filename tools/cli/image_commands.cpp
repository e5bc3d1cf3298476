#include "tools/cli/image_commands.h"

#include <algorithm>
#include <memory>

#include "state/image_name.h"
#include "state/units.h"
#include "tools/cli/job_draft.h"
#include "tools/cli/list_commands.h"
#include "tools/cli/node_asking.h"
#include "tools/cli/rows.h"
#include "tools/cli/text.h"

namespace berth::tools {

using namespace state;

namespace {

struct ImageOfNode {
  std::string node;
  ImageRow row;
};

const std::vector<Column<ImageOfNode>>& columns_for(const ImageOfNode*) {
  using Row = ImageOfNode;
  static const std::vector<Column<Row>> columns = {
      {"NODE", false, false, [](const Row& r, TimeUs) { return Cell{r.node}; }},
      {"IMAGE", false, false,
       [](const Row& r, TimeUs) { return Cell{r.row.names.empty() ? "-" : printable(r.row.names)}; }},
      {"DIGEST", false, false,
       [](const Row& r, TimeUs) { return Cell{r.row.digest.empty() ? "-" : r.row.digest.substr(0, 19)}; }},
      {"SIZE", true, false, [](const Row& r, TimeUs) { return Cell{format_bytes(r.row.bytes)}; }},
      {"PODS", true, false, [](const Row& r, TimeUs) { return Cell{std::to_string(r.row.pods)}; }},
      {"MADE", false, true, [](const Row& r, TimeUs) { return Cell{format_time(r.row.made_at)}; }},
      {"USED", false, true, [](const Row& r, TimeUs) { return Cell{format_time(r.row.used_at)}; }},
      {"STATE", false, false, [](const Row& r, TimeUs) { return Cell{r.row.state}; }},
  };
  return columns;
}

void write_fields(JsonWriter& json, const ImageOfNode& r) {
  json.field("node", std::string_view(r.node))
      .strings("names", r.row.names.empty() ? std::vector<std::string>() : split(r.row.names, ' '));
  json.field("digest", std::string_view(r.row.digest)).field("bytes", r.row.bytes);
  json.time("made_at_us", r.row.made_at).time("used_at_us", r.row.used_at);
  json.field("pods", r.row.pods).field("state", std::string_view(r.row.state));
}

struct ImageOptions {
  NodeChoice nodes;
  std::string image, pull = "missing", auth_file, unused, keep, format;
};

// Asks, lists what came, and says of each node that refused why.
int ask(const Context& context, const ImageOptions& options, const ImageRequest& wanted) {
  ServerLink link(context);
  if (Status connected = link.connect(); !connected) return fail(connected.error());
  const auto nodes = choose_nodes(link, options.nodes);
  if (!nodes) return fail(nodes.error());
  if (nodes->empty()) return fail(Error{ErrorCode::kUnavailable, "", "no node is connected", 0});
  std::vector<ImageOfNode> rows;
  int refused = 0;
  const auto question = [&](const std::string& node) {
    ImageRequest request = wanted;
    request.node = node;
    return NodeRequest(std::move(request));
  };
  const Status done = ask_nodes(link, *nodes, question, [&](const NodeRow& node, Result<ServerReply> reply) {
    auto* page = reply ? std::get_if<ImagePage>(&*reply) : nullptr;
    if (page == nullptr) {
      note(node.info.name + ": " + (reply ? "the server sent an unexpected reply" : printable(reply.error().message)));
      refused = kExitRefused;
      return;
    }
    for (ImageRow& row : page->rows) rows.push_back({node.info.name, std::move(row)});
  });
  if (!done) return fail(done.error());
  std::stable_sort(rows.begin(), rows.end(),
                   [](const ImageOfNode& a, const ImageOfNode& b) { return a.node < b.node; });
  Output out;
  if (wanted.action == ImageRequest::Action::kList || format_of(options.format) == Format::kJson) {
    Listing<ImageOfNode> listing(out, format_of(options.format), clock_us(), listing_width());
    for (const ImageOfNode& row : rows) listing.add(row);
    listing.finish();
  } else {
    const char* what = wanted.action == ImageRequest::Action::kPull ? "has " : "removed ";
    std::uint64_t bytes = 0;
    for (const ImageOfNode& r : rows) {
      bytes += r.row.bytes;
      out.write(r.node + ": " + what + printable(r.row.names.empty() ? r.row.digest : r.row.names) + " (" +
                format_bytes(r.row.bytes) + ")\n");
    }
    if (wanted.action == ImageRequest::Action::kPrune) {
      out.write(counted(rows.size(), "image") + " removed, " + format_bytes(bytes) + "\n");
    }
  }
  const int written = out.finish();
  return refused != 0 ? refused : written;
}

int pull(const Context& context, const ImageOptions& options) {
  ImageRequest request;
  request.action = ImageRequest::Action::kPull;
  const std::string here = this_process().directory;
  const auto name = ImageName::parse(absolute_image(options.image, here), "image");
  if (!name) return report(name.error(), true);
  if (name->kind == ImageName::Kind::kRootfs) {
    return report(invalid("image", "a root file system is used where it is: there is nothing to pull"), true);
  }
  request.image = name->text();
  request.pull = options.pull == "always" ? PullPolicy::kAlways : PullPolicy::kMissing;
  request.auth_file = options.auth_file;
  if (!request.auth_file.empty() && request.auth_file[0] != '/') request.auth_file = here + "/" + request.auth_file;
  return ask(context, options, request);
}

int remove(const Context& context, const ImageOptions& options) {
  ImageRequest request;
  request.action = ImageRequest::Action::kRemove;
  request.image =
      options.image.starts_with("sha256:") ? options.image : absolute_image(options.image, this_process().directory);
  return ask(context, options, request);
}

int prune(const Context& context, const ImageOptions& options) {
  ImageRequest request;
  request.action = ImageRequest::Action::kPrune;
  if (!options.unused.empty()) {
    const auto unused = parse_duration_ms(options.unused, "--unused");
    if (!unused) return report(unused.error(), true);
    request.unused_ms = *unused;
  }
  if (!options.keep.empty()) {
    const auto keep = parse_mem_mib(options.keep, "--keep");
    if (!keep) return report(keep.error(), true);
    request.keep_mib = *keep;
  }
  return ask(context, options, request);
}

}  // namespace

void add_image_commands(CLI::App& app, Context& context) {
  CLI::App* image =
      add_command(app, "image", "The container images that nodes have",
                  "Nodes fetch images by themselves when a pod needs one, and keep them for the next. These commands "
                  "show what they "
                  "have, fetch ahead, and make room. They speak to all nodes that are connected, or to some.",
                  "berth image ls --node n1\n"
                  "berth image pull docker://registry.example.org/team/app:1.4 --queue gpu\n"
                  "berth image prune --unused 7d");
  image->group("Administration");
  image->require_subcommand(1);
  auto options = std::make_shared<ImageOptions>();
  const auto add = [&](const char* name, const char* summary, const char* description, const char* examples) {
    CLI::App* command = add_command(*image, name, summary, description, examples);
    add_node_choice(command, options->nodes);
    return command;
  };
  CLI::App* list =
      add("ls", "List images", "Also those that are on their way: asking (the registry), copying, unpacking.",
          "berth image ls\nberth image ls --node n[1-4] -o json");
  add_format_option(list, options->format);
  on_run(list, context, [options, &context] {
    ImageRequest request;
    return ask(context, *options, request);
  });
  CLI::App* fetch = add("pull", "Fetch an image, and wait until the nodes have it",
                        "With your own credentials for the registry, as a pod of yours would.",
                        "berth image pull docker://registry.example.org/team/app:1.4 --node n[1-16]");
  fetch->add_option("image", options->image, std::string("the image: ") + kImageForms)->type_name("IMAGE")->required();
  fetch
      ->add_option("--pull", options->pull,
                   "always asks the registry what the name means now; missing takes what the node has by that name")
      ->type_name("always|missing")
      ->check(CLI::IsMember(std::vector<std::string>{"always", "missing"}))
      ->capture_default_str();
  fetch->add_option("--registry-auth", options->auth_file, "a file of credentials on the nodes, read with your rights")
      ->type_name("FILE");
  add_format_option(fetch, options->format, false);
  on_run(fetch, context, [options, &context] { return pull(context, *options); });
  CLI::App* drop = add("rm", "Remove an image that no pod uses", "For administrators.",
                       "berth image rm docker://registry.example.org/team/app:1.3");
  drop->add_option("image", options->image, "the image, as listed, or its digest")->type_name("IMAGE")->required();
  on_run(drop, context, [options, &context] { return remove(context, *options); });
  CLI::App* clear = add("prune", "Remove images that no pod uses", "For administrators. Without options, all of them.",
                        "berth image prune --unused 7d\nberth image prune --keep 100G");
  clear->add_option("--unused", options->unused, "only those that no pod has used for so long")->type_name("TIME");
  clear
      ->add_option("--keep", options->keep,
                   "the longest unused first, and only until all that is left takes no more than this")
      ->type_name("SIZE");
  on_run(clear, context, [options, &context] { return prune(context, *options); });
}

}  // namespace berth::tools
