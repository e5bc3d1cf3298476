#include "placement/constraints.h"
#include "state/condition.h"
#include "state/image_name.h"
#include "state/units.h"
#include "tools/cli/container_fields.h"
#include "tools/cli/job_draft.h"
#include "tools/cli/text.h"
#include "tools/cli/waiting.h"

namespace berth::tools {

namespace {

using namespace state;

constexpr std::uint32_t kRequeuesByDefault = 10;
constexpr std::int64_t kRequeuesMax = 1000;
constexpr std::int64_t kGraceMaxMs = 24LL * 3600 * 1000;

template <class T, class To>
Status put(const Result<T>& parsed, To& to) {
  if (!parsed) return parsed.error();
  to = static_cast<To>(*parsed);
  return Unit{};
}

Error value_not_accepted(std::string_view value, std::string_view field, const std::string& what,
                         const std::string& accepted) {
  return invalid(std::string(field), "'" + printable(clip(value, 64)) + "' is not " + what + "; accepted: " + accepted);
}

Status set_text(std::string& to, std::string_view value, std::string_view field, const char* what) {
  if (value.empty()) return invalid(std::string(field), std::string("the ") + what + " is empty");
  to = value;
  return Unit{};
}

// RANGES[%THROTTLE]
Status set_array(JobDraft& draft, std::string_view value, std::string_view field) {
  const std::size_t percent = value.find('%');
  auto indexes = IndexSet::parse(value.substr(0, percent), field);
  if (!indexes) return indexes.error();
  std::uint32_t throttle = 0;
  if (percent != std::string_view::npos) {
    const std::string_view most = value.substr(percent + 1);
    if (!put(parse_integer(most, field, 1, IndexSet::kMaxSize), throttle)) {
      return value_not_accepted(most, field, "a number of pods at once",
                                "INDEXES%N with N from 1 to " + std::to_string(IndexSet::kMaxSize));
    }
  }
  draft.array = std::move(*indexes);
  draft.throttle = throttle;
  return Unit{};
}

Status set_feature(JobDraft& draft, std::string_view value, std::string_view field) {
  for (const std::string& word : split(value, ',')) {
    if (word.empty() || word.size() > kMaxNameBytes || word.find_first_of(" \t\n") != std::string::npos) {
      return value_not_accepted(value, field, "a feature", "words of 1 to 255 characters, separated by commas");
    }
    draft.request.features.push_back(word);
  }
  return Unit{};
}

Status set_where(JobDraft& draft, std::string_view value, std::string_view field) {
  if (auto condition = Condition::parse(value, field); !condition) return condition.error();
  // Several must all hold.
  std::string& where = draft.request.where;
  where = where.empty() ? std::string(value) : "(" + where + ")&(" + std::string(value) + ")";
  if (auto condition = Condition::parse(where, field); !condition) return condition.error();
  return Unit{};
}

Status add_condition(JobDraft& draft, std::string_view value, std::string_view field) {
  if (auto condition = Condition::parse(value, field); !condition) return condition.error();
  draft.request.prefers.emplace_back(value);
  return Unit{};
}

// Names of nodes, wanted or not.
Status set_node_names(JobDraft& draft, std::string_view value, std::string_view field, const char* op) {
  if (auto names = parse_name_list(value, field); !names) return names.error();
  return set_where(draft, std::string("node ") + op + " (" + std::string(value) + ")", field);
}

// [soft:]SELECTOR[@DOMAIN]; "own" is the job's own pods
Status add_rule(JobDraft& draft, std::string_view value, std::string_view field, PodRule::Kind kind) {
  PodRule rule;
  rule.kind = kind;
  std::string_view rest = value;
  if (rest.starts_with("soft:")) {
    rule.soft = true;
    rest.remove_prefix(5);
  }
  const std::size_t at = rest.rfind('@');
  if (at != std::string_view::npos) rule.domain = rest.substr(at + 1);
  rule.selector = rest.substr(0, at);
  if (rule.selector == "own")
    rule.selector.clear();
  else if (auto selector = Condition::parse(rule.selector, field); !selector)
    return selector.error();
  draft.request.rules.push_back(std::move(rule));
  return Unit{};
}

// [soft:]DOMAIN[:SKEW]
Status add_spread(JobDraft& draft, std::string_view value, std::string_view field) {
  PodRule rule;
  rule.kind = PodRule::Kind::kSpread;
  std::string_view rest = value;
  if (rest.starts_with("soft:")) {
    rule.soft = true;
    rest.remove_prefix(5);
  }
  const std::size_t colon = rest.find(':');
  if (colon != std::string_view::npos) {
    if (Status good = put(parse_integer(rest.substr(colon + 1), field, 1, 1'000'000), rule.skew); !good) return good;
  }
  rule.domain = rest.substr(0, colon);
  draft.request.rules.push_back(std::move(rule));
  return Unit{};
}

// N or MIN-MAX
Status set_nodes(JobDraft& draft, std::string_view value, std::string_view field) {
  const std::size_t dash = value.find('-', 1);
  if (Status good = put(parse_integer(value.substr(0, dash), field, 1, kMaxGangSize), draft.nodes); !good) return good;
  draft.nodes_max = 0;
  if (dash == std::string_view::npos) return Unit{};
  return put(parse_integer(value.substr(dash + 1), field, draft.nodes, kMaxGangSize), draft.nodes_max);
}

// N, or a share of one: 0.25
Status set_gpus(JobDraft& draft, std::string_view value, std::string_view field) {
  Request& request = draft.request;
  request.gpu_share_milli = 0;
  if (value.find('.') == std::string_view::npos) {
    return put(parse_integer(value, field, 0, kMaxGpus), request.resources.gpus);
  }
  auto share = parse_cpu_milli(value, field);  // thousandths as well
  if (!share || *share >= 1000)
    return value_not_accepted(value, field, "a number of GPUs", "0 to 64, or a share below 1");
  request.gpu_share_milli = *share;
  request.resources.gpus = 1;
  return Unit{};
}

Status add_count(std::vector<Countable>& list, std::string_view value, std::string_view field) {
  auto count = parse_countable(value, field);
  if (!count) return count.error();
  list.push_back(std::move(*count));
  return Unit{};
}

// [soft:]numa|package|l3
Status set_cores_in(JobDraft& draft, std::string_view value, std::string_view field) {
  CoreFit& cores = draft.request.cores;
  cores.require = !value.starts_with("soft:");
  const std::string_view part = cores.require ? value : value.substr(5);
  using Level = CoreFit::Level;
  cores.level = part == "numa"      ? Level::kNuma
                : part == "package" ? Level::kPackage
                : part == "l3"      ? Level::kL3
                                    : Level::kNone;
  if (cores.level != Level::kNone) return Unit{};
  return value_not_accepted(value, field, "a part of a machine",
                            "numa, package or l3, with soft: before it for a wish");
}

Status set_variable(JobDraft& draft, std::string_view value, std::string_view field) {
  if (value.empty() || value[0] == '=')
    return value_not_accepted(value, field, "a variable", "NAME=VALUE, or NAME to pass on your own");
  draft.variables.emplace_back(value);
  return Unit{};
}

Status set_requeue(JobDraft& draft, std::string_view value, std::string_view field) {
  if (value == "true" || value == "false") {
    draft.requeues_max = value == "true" ? kRequeuesByDefault : 0;
    return Unit{};
  }
  return put(parse_integer(value, field, 0, kRequeuesMax), draft.requeues_max);
}

Status set_grace(JobDraft& draft, std::string_view value, std::string_view field) {
  if (value == "0" || value == "0s") {
    draft.grace_ms = 0;
    return Unit{};
  }
  const auto parsed = parse_duration_ms(value, field);
  if (parsed && *parsed > kGraceMaxMs) return value_not_accepted(value, field, "a grace time", "from 0 to 24h");
  return put(parsed, draft.grace_ms);
}

Status set_umask(JobDraft& draft, std::string_view value, std::string_view field) {
  std::uint32_t mask = 0;
  for (const char c : value) {
    if (c < '0' || c > '7' || mask > 0777)
      return value_not_accepted(value, field, "a mask", "octal digits, from 0 to 0777");
    mask = mask * 8 + static_cast<std::uint32_t>(c - '0');
  }
  if (value.empty() || mask > 0777) return value_not_accepted(value, field, "a mask", "octal digits, from 0 to 0777");
  draft.umask = mask;
  return Unit{};
}

Status set_image(JobDraft& draft, std::string_view value, std::string_view field) {
  if (const auto name = ImageName::parse(value, field); !name) return name.error();
  draft.image = value;
  return Unit{};
}

constexpr const char* kResources = "Resources of each pod";
constexpr const char* kPlacement = "Where pods go";
constexpr const char* kShape = "Number of pods";
constexpr const char* kRunning = "Environment and files";
constexpr const char* kContainer = "Containers";
constexpr const char* kQueueing = "Queue and limits";

std::vector<JobField> make_fields() {
  using enum FieldShape;
  return {
      {"name", "-n,--name", "NAME", kText, kQueueing, "the job's name, for people (default: the program's)", "a text",
       [](JobDraft& d, std::string_view v, std::string_view f) { return set_text(d.name, v, f, "name"); }},
      {"queue", "-q,--queue", "QUEUE", kText, kQueueing, "the queue to wait in (default: default)",
       "the name of a queue",
       [](JobDraft& d, std::string_view v, std::string_view f) { return set_text(d.queue, v, f, "queue's name"); }},
      {"priority", "--priority", "N", kText, kQueueing,
       "from -1000 to 1000, higher runs first; only an administrator may go above 0 (default: 0)",
       "a whole number from -1000 to 1000",
       [](JobDraft& d, std::string_view v, std::string_view f) {
         return put(parse_integer(v, f, -1000, 1000), d.priority);
       }},
      {"time", "-t,--time", "TIME", kText, kQueueing,
       "end a pod that has run for so long: 90s, 15m, 1h30m, or HH:MM:SS (default: the queue's limit)",
       "a length of time: 90s, 15m, 2h, 1d, 1h30m or HH:MM:SS",
       [](JobDraft& d, std::string_view v, std::string_view f) {
         return put(parse_duration_ms(v, f), d.time_limit_ms);
       }},
      {"time-min", "--time-min", "TIME", kText, kQueueing,
       "take less than the time limit, down to this, where the job starts sooner with it",
       "a length of time, as for time",
       [](JobDraft& d, std::string_view v, std::string_view f) { return put(parse_duration_ms(v, f), d.time_min_ms); }},
      {"deadline", "--deadline", "TIME", kText, kQueueing,
       "give up what can no longer end before then, and end what runs at it: +8h, 18:30, 2026-11-25T18:30 or tomorrow",
       "a time: +8h, 18:30, 2026-11-25T18:30 or tomorrow",
       [](JobDraft& d, std::string_view v, std::string_view f) {
         return put(parse_deadline(v, f, wall_clock_us()), d.deadline);
       }},
      {"requeue", "--requeue", "N", kOptionalText, kQueueing,
       "run a pod again when its node is lost, at most TIMES times (10 unless given)",
       "true, false, or a number of times up to 1000", set_requeue},
      {"grace", "--grace", "TIME", kText, kQueueing,
       "the time between SIGTERM and SIGKILL when a pod is stopped (default: 10s)", "a length of time from 0 to 24h",
       set_grace},
      {"after", "--after", "DEPENDENCY", kText, kQueueing,
       "only after other jobs: afterok:12:13 when they have succeeded, afterany when they have ended, afternotok when "
       "one has failed, after when they have started, singleton after all earlier ones of this name; aftercorr: "
       "each element of an array when the one with its index there has succeeded; 12_3 is one element of an array; "
       "with , between all, with ? any of them",
       "dependencies, as in afterok:12:13,afterany:14_3 or aftercorr:12",
       [](JobDraft& d, std::string_view v, std::string_view f) {
         auto depends = parse_depends(v, f);
         if (!depends) return Status(depends.error());
         d.depends = std::move(depends->all);
         d.any_dependency = depends->any;
         return Status(Unit{});
       }},
      {"begin", "--begin", "TIME", kText, kQueueing, "not before: +1h, 18:30, 2026-11-25T18:30 or tomorrow",
       "a time: +1h, 18:30, 2026-11-25T18:30 or tomorrow",
       [](JobDraft& d, std::string_view v, std::string_view f) {
         return put(parse_begin(v, f, wall_clock_us()), d.begin_at);
       }},
      {"hold", "--hold", nullptr, kFlag, kQueueing, "wait until 'berth release'", "true or false",
       [](JobDraft& d, std::string_view v, std::string_view) {
         d.held = v == "true";
         return Status(Unit{});
       }},
      {"account", "--account", "NAME", kText, kQueueing,
       "who is charged (see 'berth account ls'); by default the user's default account", "a text",
       [](JobDraft& d, std::string_view v, std::string_view f) { return set_text(d.account, v, f, "account"); }},
      {"qos", "--qos", "NAME", kText, kQueueing, "its quality of service (see 'berth qos ls')", "a text",
       [](JobDraft& d, std::string_view v, std::string_view f) { return set_text(d.qos, v, f, "qos"); }},
      {"comment", "--comment", "TEXT", kText, kQueueing, "a note, shown by 'berth show'", "a text",
       [](JobDraft& d, std::string_view v, std::string_view f) { return set_text(d.comment, v, f, "comment"); }},
      {"array", "-a,--array", "INDEXES", kText, kShape,
       "one independent pod for each index, as in 1-1000, 0-99:2 or 1,5,9-12; %N behind it runs at most N at once",
       "indexes such as 1-1000, 0-99:2 or 1,5,9-12, with %N for at most N at once", set_array},
      {"gang", "-g,--gang", "N", kText, kShape, "N pods that start together or not at all",
       "a whole number from 1 to 65536",
       [](JobDraft& d, std::string_view v, std::string_view f) {
         return put(parse_integer(v, f, 1, kMaxGangSize), d.gang);
       }},
      {"nodes", "-N,--nodes", "N", kText, kShape,
       "N pods that start together, each on a node of its own; with --gang, its pods on N nodes, or on MIN-MAX",
       "a whole number from 1 to 65536, or two of them, as in 2-4", set_nodes},
      {"per-node", "--per-node", "N", kText, kShape, "of a gang, at most N pods on one node",
       "a whole number from 1 to 65536",
       [](JobDraft& d, std::string_view v, std::string_view f) {
         return put(parse_integer(v, f, 1, kMaxGangSize), d.per_node);
       }},
      {"switches", "--switches", "N", kText, kShape, "a gang on nodes below at most N leaf switches",
       "a whole number from 1 to 65536",
       [](JobDraft& d, std::string_view v, std::string_view f) {
         return put(parse_integer(v, f, 1, kMaxGangSize), d.switches);
       }},
      {"contiguous", "--contiguous", nullptr, kFlag, kShape, "a gang on nodes whose names follow each other",
       "true or false",
       [](JobDraft& d, std::string_view v, std::string_view) {
         d.contiguous = v == "true";
         return Status(Unit{});
       }},
      {"cpus", "-c,--cpus", "CPUS", kText, kResources, "cores: 2, 0.5 or 1500m (default: 1)",
       "a number of cpus: 2, 0.5 or 1500m",
       [](JobDraft& d, std::string_view v, std::string_view f) {
         return put(parse_cpu_milli(v, f), d.request.resources.cpu_milli);
       }},
      {"mem", "-m,--mem", "SIZE", kText, kResources,
       "memory, a limit too: 512M, 2G, 1.5G or 1T (default: claims none, has no limit)", "a size: 512M, 2G, 1.5G or 1T",
       [](JobDraft& d, std::string_view v, std::string_view f) {
         return put(parse_mem_mib(v, f), d.request.resources.mem_mib);
       }},
      {"gpus", "-G,--gpus", "N", kText, kResources,
       "whole GPUs, or a share of one that others may share, as in 0.25 (default: 0)",
       "a whole number from 0 to 64, or a share such as 0.25", set_gpus},
      {"resources", "--resource", "NAME=N", kList, kResources,
       "so many of what the node has by that name, as in fpga=2; may be repeated", "a list of NAME or NAME=N",
       [](JobDraft& d, std::string_view v, std::string_view f) { return add_count(d.request.counts, v, f); }},
      {"disk", "--disk", "SIZE", kText, kResources,
       "local disk: 10G, 1T. It is counted, not enforced (default: claims none)", "a size: 512M, 2G, 1.5G or 1T",
       [](JobDraft& d, std::string_view v, std::string_view f) {
         Countable disk{std::string(kDisk), 0};
         if (Status good = put(parse_mem_mib(v, f), disk.count); !good) return good;
         std::erase_if(d.request.counts, [](const Countable& c) { return c.name == kDisk; });
         if (disk.count != 0) d.request.counts.push_back(disk);
         return Status(Unit{});
       }},
      {"licences", "--licence", "NAME[=N]", kList, kResources,
       "so many of the cluster's licences (see 'berth licence ls') while it runs; may be repeated",
       "a list of NAME or NAME=N",
       [](JobDraft& d, std::string_view v, std::string_view f) { return add_count(d.request.licences, v, f); }},
      {"cores-in", "--cores-in", "PART", kText, kResources,
       "all its cores in one numa node, package or l3 cache, its GPUs and memory near them; soft: before it makes it "
       "a wish",
       "numa, package or l3, with soft: before it for a wish", set_cores_in},
      {"threads-per-core", "--threads-per-core", "N", kText, kResources,
       "use so many hardware threads of each core; the others stay idle", "a whole number from 1 to 8",
       [](JobDraft& d, std::string_view v, std::string_view f) {
         return put(parse_integer(v, f, 1, 8), d.request.cores.threads_per_core);
       }},
      {"features", "--feature", "WORD", kList, kResources, "only on nodes with this feature; may be repeated",
       "a list of words", set_feature},
      {"where", "-w,--where", "CONDITION", kText, kPlacement,
       "only on nodes that meet the condition: ssd, zone=a, 'gen>=3 & !old', 'zone in (a,b) | fast'; of a gang, "
       "'[a|b]' puts all pods on nodes of the same one and '[a*2&b*4]' counts them out",
       "a condition, as in 'ssd & zone in (a,b)'", set_where},
      {"prefer", "--prefer", "CONDITION", kList, kPlacement,
       "rather on nodes that meet the condition; may be repeated, the one that matters most first",
       "a list of conditions", add_condition},
      {"nodelist", "--nodelist", "NAMES", kText, kPlacement, "only on these nodes, as in n1,n[5-20]",
       "names of nodes, as in n1,n[5-20]",
       [](JobDraft& d, std::string_view v, std::string_view f) { return set_node_names(d, v, f, "in"); }},
      {"exclude", "--exclude", "NAMES", kText, kPlacement, "not on these nodes", "names of nodes, as in n1,n[5-20]",
       [](JobDraft& d, std::string_view v, std::string_view f) { return set_node_names(d, v, f, "notin"); }},
      {"tolerate", "--tolerate", "TAINT", kList, kPlacement,
       "also on nodes with this taint: KEY, KEY=VALUE, or * for all; may be repeated", "a list of taints",
       [](JobDraft& d, std::string_view v, std::string_view f) {
         if (!placement::is_toleration(v))
           return Status(value_not_accepted(v, f, "a taint", "KEY, KEY=VALUE, or * for all"));
         d.request.tolerates.emplace_back(v);
         return Status(Unit{});
       }},
      {"labels", "--label", "KEY=VALUE", kList, kPlacement,
       "a label of the pods, by which --apart, --together and --spread know them; may be repeated",
       "a list of KEY=VALUE",
       [](JobDraft& d, std::string_view v, std::string_view f) {
         if (!placement::is_label(v)) return Status(value_not_accepted(v, f, "a label", "KEY=VALUE"));
         d.request.labels.emplace_back(v);
         return Status(Unit{});
       }},
      {"apart", "--apart", "PODS[@DOMAIN]", kList, kPlacement,
       "never on a node with pods of such labels, as in app=web, or own for this job's; with @DOMAIN, not on any node "
       "that has the same value of that label; soft: before it makes it a wish; may be repeated",
       "a list of PODS, PODS@DOMAIN or soft:PODS@DOMAIN",
       [](JobDraft& d, std::string_view v, std::string_view f) { return add_rule(d, v, f, PodRule::Kind::kApart); }},
      {"together", "--together", "PODS[@DOMAIN]", kList, kPlacement, "only where there are pods of such labels",
       "a list of PODS, PODS@DOMAIN or soft:PODS@DOMAIN",
       [](JobDraft& d, std::string_view v, std::string_view f) { return add_rule(d, v, f, PodRule::Kind::kTogether); }},
      {"spread", "--spread", "DOMAIN", kList, kPlacement,
       "evenly over nodes (node) or the values of a label, such as zone: at most 1 above the least, or N with :N "
       "behind it; soft: "
       "before it makes it a wish",
       "a list of DOMAIN, DOMAIN:N or soft:DOMAIN", add_spread},
      {"exclusive", "--exclusive", nullptr, kFlag, kPlacement, "each pod has its node for itself", "true or false",
       [](JobDraft& d, std::string_view v, std::string_view) {
         d.request.exclusive = v == "true";
         return Status(Unit{});
       }},
      {"image", "-i,--image", "IMAGE", kText, kRunning,
       "run in a container of this image: docker://HOST/NAME:TAG from a registry, TAG of an OCI layout as DIR:TAG, "
       "docker-archive:FILE, or rootfs:DIR, a root file system; without it, a process runs on the node itself",
       kImageForms, set_image},
      {"pull", "--pull", "POLICY", kText, kContainer,
       "missing: the node's image of that name will do, if it has one (default); always: the registry is asked what "
       "the "
       "name means now; never: only what the node has",
       "missing, always or never",
       [](JobDraft& d, std::string_view v, std::string_view f) { return set_pull(d.container, v, f); }},
      {"registry-auth", "--registry-auth", "FILE", kText, kContainer,
       "credentials for the registry, a file on the nodes (default: your ~/.docker/config.json there)",
       "the path of a file",
       [](JobDraft& d, std::string_view v, std::string_view f) {
         return set_text(d.container.auth_file, v, f, "path");
       }},
      {"mounts", "--mount", "MOUNT", kList, kContainer,
       "type=bind,src=DIR,dst=DIR[,ro]: a directory or file of the node; type=tmpfs,dst=DIR[,size=SIZE]: memory; "
       "type=scratch,dst=DIR: a directory on the node's disk that goes with the pod; may be repeated",
       kMountForms, [](JobDraft& d, std::string_view v, std::string_view f) { return add_mount(d.container, v, f); }},
      {"tmpfs", "--tmpfs", "DIR", kList, kContainer,
       "memory as a file system at DIR, with :size=SIZE behind it at most so much; may be repeated",
       "a list of DIR or DIR:size=SIZE",
       [](JobDraft& d, std::string_view v, std::string_view f) { return add_tmpfs(d.container, v, f); }},
      {"read-only", "--read-only", nullptr, kFlag, kContainer, "the image cannot be written to, only mounts can",
       "true or false",
       [](JobDraft& d, std::string_view v, std::string_view) {
         d.container.read_only = v == "true";
         return Status(Unit{});
       }},
      {"hostname", "--hostname", "NAME", kText, kContainer, "its name of the machine (default: job-ID-INDEX)",
       "1 to 63 of the characters A-Z a-z 0-9 - .",
       [](JobDraft& d, std::string_view v, std::string_view f) { return set_hostname(d.container, v, f); }},
      {"seccomp", "--seccomp", "PROFILE", kText, kContainer,
       "default: without system calls that containers have no business with; unconfined: with them",
       "default or unconfined",
       [](JobDraft& d, std::string_view v, std::string_view f) { return set_seccomp(d.container, v, f); }},
      {"ulimits", "--ulimit", "NAME=LIMIT", kList, kRunning,
       "a limit of each process, as in nofile=4096:65536, core=unlimited or stack=64M; may be repeated",
       "a list of NAME=SOFT or NAME=SOFT:HARD",
       [](JobDraft& d, std::string_view v, std::string_view f) { return add_ulimit(d.container, v, f); }},
      {"env", "-e,--env", "NAME[=VALUE]", kVariables, kRunning,
       "set a variable; NAME alone passes on your own; may be repeated. A process has your whole environment, a "
       "container "
       "only what is set here and in the image",
       "a mapping of names to values, or a list of NAME=VALUE and NAME", set_variable},
      {"env-clear", "--env-clear", nullptr, kFlag, kRunning, "a process starts with nothing but --env and a plain PATH",
       "true or false",
       [](JobDraft& d, std::string_view v, std::string_view) {
         d.clear_environment = v == "true";
         return Status(Unit{});
       }},
      {"cwd", "-D,--cwd", "DIR", kText, kRunning,
       "the directory to run in (default: this one; for a container, the image's)", "the path of a directory",
       [](JobDraft& d, std::string_view v, std::string_view f) { return set_text(d.cwd, v, f, "directory"); }},
      {"output", "-o,--output", "FILE", kText, kRunning,
       "write standard output there; %j is the job's id, %a the array index, %r the rank, %n the node, %u the user, %x "
       "the job's "
       "name (default: kept by the node, for 'berth logs')",
       "the path of a file, with %j %a %r %n %u %x",
       [](JobDraft& d, std::string_view v, std::string_view f) { return set_text(d.output, v, f, "path"); }},
      {"error", "--error", "FILE", kText, kRunning, "write standard error there (default: with standard output)",
       "the path of a file, with %j %a %r %n %u %x",
       [](JobDraft& d, std::string_view v, std::string_view f) { return set_text(d.error, v, f, "path"); }},
      {"append", "--append", nullptr, kFlag, kRunning, "append to these files instead of replacing them",
       "true or false",
       [](JobDraft& d, std::string_view v, std::string_view) {
         d.append = v == "true";
         return Status(Unit{});
       }},
      {"umask", "--umask", "MASK", kText, kRunning, "of the files that pods make, octal (default: yours)",
       "octal digits, from 0 to 0777", set_umask},
      {"command", nullptr, nullptr, kCommand, kRunning, "the program and its arguments",
       "a list of words, or one line that /bin/sh runs",
       [](JobDraft& d, std::string_view v, std::string_view) {
         d.argv.emplace_back(v);
         return Status(Unit{});
       }},
  };
}

}  // namespace

const std::vector<JobField>& job_fields() {
  static const std::vector<JobField> fields = make_fields();
  return fields;
}

}  // namespace berth::tools
