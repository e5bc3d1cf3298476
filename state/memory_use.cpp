#include "state/memory_use.h"

#include <algorithm>
#include <bit>

namespace berth::state {

namespace {

// A block of glibc's allocator: eight bytes before it, and sixteen as the step.
std::uint64_t block(std::uint64_t bytes) {
  return bytes == 0 ? 0 : std::max<std::uint64_t>(32, (bytes + 8 + 15) / 16 * 16);
}
// A node of a std::map or std::set: three pointers and a colour before the value.
template <class T>
std::uint64_t tree_node() {
  return block(32 + sizeof(T));
}
template <class T>
std::uint64_t heap_of(const std::vector<T>& items) {
  return block(items.capacity() * sizeof(T));
}
template <class Key, class Value, class Hash>
std::uint64_t heap_of(const boost::unordered_flat_map<Key, Value, Hash>& map) {
  // Groups of fifteen slots, each with sixteen bytes of their hashes.
  return block(map.bucket_count() * sizeof(std::pair<const Key, Value>) + map.bucket_count() / 15 * 16);
}
std::uint64_t intervals(const IntervalSet& set) {
  return set.intervals().size() * tree_node<std::pair<const std::uint32_t, std::uint32_t>>();
}

// In chunks of 256, that grow by doubling, and a pointer a chunk.
void count_outcomes(const Job& job, MemoryUse::Kind& out) {
  constexpr std::uint32_t kChunk = 256;
  std::uint32_t last = 0;
  std::uint64_t in_chunk = 0;
  const auto chunk_ends = [&] {
    if (in_chunk != 0)
      out.bytes += block(std::bit_ceil(in_chunk) * sizeof(PodOutcome)) + block(sizeof(std::vector<int>));
    in_chunk = 0;
  };
  job.outcomes.each(0, [&](std::uint32_t element, const PodOutcome&) {
    if (element / kChunk != last / kChunk) chunk_ends();
    last = element;
    in_chunk = element % kChunk + 1;
    ++out.count;
    return true;
  });
  if (in_chunk != 0) out.bytes += block((last / kChunk + 1) * sizeof(void*));
  chunk_ends();
}

class Counter {
 public:
  void text(const std::string& text) {
    // Short ones are in the record itself.
    if (text.capacity() <= 15) return;
    ++strings_;
    string_bytes_ += block(text.capacity() + 1);
  }
  std::uint64_t texts(const std::vector<std::string>& list) {
    for (const std::string& each : list) text(each);
    return heap_of(list);
  }
  std::uint64_t request(const Request& request) {
    const std::uint64_t bytes = texts(request.features) + heap_of(request.counts) + heap_of(request.licences);
    for (const auto* list : {&request.counts, &request.licences}) {
      for (const Countable& each : *list) text(each.name);
    }
    text(request.where);
    return bytes + texts(request.prefers) + texts(request.tolerates) + texts(request.labels) + heap_of(request.rules);
  }
  std::uint64_t job(const Job& job) {
    std::uint64_t bytes = block(sizeof(Job)) + tree_node<std::pair<const JobId, std::unique_ptr<Job>>>();
    for (const std::string* each : {&job.owner.user, &job.spec.name, &job.spec.queue, &job.spec.launch,
                                    &job.spec.account, &job.spec.qos, &job.spec.comment}) {
      text(*each);
    }
    bytes += heap_of(job.owner.groups) + heap_of(job.spec.elements.ranges()) + heap_of(job.spec.depends);
    bytes += block(job.spec.elements.ranges().capacity() * sizeof(std::uint32_t));  // positions before each range
    bytes += request(job.spec.request) + intervals(job.cancelled) + intervals(job.late);
    if (const auto* of = job.corresponding.get(); of != nullptr) {
      bytes += block(sizeof(*of)) + intervals(of->never) + intervals(of->ready);
      for (const auto& [number, open] : of->open) {
        bytes += tree_node<std::pair<const std::uint32_t, IntervalSet>>() + intervals(open);
      }
    }
    bytes += job.attempts.size() * tree_node<std::pair<const std::uint32_t, std::uint32_t>>();
    return bytes + texts(job.messages) + heap_of(job.message_numbers);
  }
  std::uint64_t node(const Node& node) {
    const NodeInfo& info = node.info;
    for (const std::string* each :
         {&info.name, &info.instance, &info.address, &info.version, &info.limits, &node.reason})
      text(*each);
    text(info.name);  // as the key of the names, too
    return tree_node<std::pair<const NodeId, Node>>() + tree_node<std::pair<const std::string, NodeId>>() +
           texts(info.features) + texts(info.taints) + heap_of(info.counts) + topology(info.topology);
  }
  std::uint64_t strings() const { return strings_; }
  std::uint64_t string_bytes() const { return string_bytes_; }

 private:
  std::uint64_t topology(const Topology& topology) {
    for (const auto& device : topology.devices) {
      text(device.name);
      text(device.bus);
    }
    std::uint64_t bytes =
        heap_of(topology.cores) + heap_of(topology.domains) + heap_of(topology.memories) + heap_of(topology.devices);
    for (const auto& core : topology.cores) bytes += heap_of(core);
    return bytes;
  }

  std::uint64_t strings_ = 0, string_bytes_ = 0;
};

}  // namespace

std::uint64_t MemoryUse::total() const {
  std::uint64_t bytes = 0;
  for (const Kind& kind : kinds) bytes += kind.bytes;
  return bytes;
}

std::uint64_t MemoryUse::bytes_of(const std::string& name) const {
  const auto found = std::find_if(kinds.begin(), kinds.end(), [&](const Kind& kind) { return kind.name == name; });
  return found == kinds.end() ? 0 : found->bytes;
}

std::uint64_t MemoryUse::count_of(const std::string& name) const {
  const auto found = std::find_if(kinds.begin(), kinds.end(), [&](const Kind& kind) { return kind.name == name; });
  return found == kinds.end() ? 0 : found->count;
}

MemoryUse memory_use(const Cluster& cluster) {
  Counter counter;
  MemoryUse::Kind jobs{"jobs", 0, 0}, waiting{"waiting elements", 0, 0}, outcomes{"outcomes", 0, 0};
  MemoryUse::Kind pods{"running pods", 0, 0}, nodes{"nodes", 0, 0}, other{"other", 0, 0};
  for (const auto& [id, job] : cluster.jobs()) {
    ++jobs.count;
    jobs.bytes += counter.job(*job);
    waiting.count += job->pending.size();
    waiting.bytes += intervals(job->pending);
    count_outcomes(*job, outcomes);
  }
  pods.count = cluster.live_pods().size();
  pods.bytes = heap_of(cluster.live_pods());
  for (const auto& [id, node] : cluster.nodes()) {
    ++nodes.count;
    nodes.bytes += counter.node(node);
    const PodSet& of_node = cluster.pods_of(id);
    if (!of_node.empty()) pods.bytes += tree_node<std::pair<const NodeId, PodSet>>() + of_node.heap_bytes();
  }
  other.count = cluster.queues().size() + cluster.tokens().size() + cluster.accounts().size() +
                cluster.members().size() + cluster.qos().size() + cluster.usage().size() + cluster.licences().size();
  other.bytes = cluster.queues().size() * tree_node<std::pair<const std::string, Queue>>() +
                cluster.tokens().size() * tree_node<std::pair<const std::string, Token>>() +
                cluster.accounts().size() * tree_node<std::pair<const std::string, Account>>() +
                cluster.members().size() * tree_node<std::pair<const Cluster::MemberKey, Member>>() +
                cluster.qos().size() * tree_node<std::pair<const std::string, Qos>>() +
                cluster.usage().size() * tree_node<std::pair<const Cluster::MemberKey, Usage>>() +
                cluster.ended_jobs().size() * tree_node<std::pair<TimeUs, JobId>>();
  return {{jobs, waiting, outcomes, pods, nodes, {"strings", counter.strings(), counter.string_bytes()}, other}};
}

}  // namespace berth::state
