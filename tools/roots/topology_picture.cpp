#include "tools/roots/topology_picture.h"

#include <algorithm>

#include "state/units.h"
#include "tools/cli/text.h"

namespace berth::tools {

using namespace state;
using placement::TopologyNode;
using placement::TopologyPlan;

namespace {

bool contains(const std::vector<std::uint32_t>& sorted, std::uint32_t number) {
  return std::binary_search(sorted.begin(), sorted.end(), number);
}

class Picture {
 public:
  Picture(const TopologyNode& node, const std::vector<PlacedRequest>& placed, std::size_t width)
      : node_(node), topology_(node.topology()), placed_(placed), width_(width) {}

  std::string draw() {
    std::vector<CoreRange> rows = ranges_of(Topology::Part::kNuma);
    if (rows.empty()) rows = ranges_of(Topology::Part::kPackage);
    cover_the_rest(rows);
    for (const CoreRange& row : rows) {
      for (const Topology::Domain& domain : topology_.domains) {
        if (domain.part == Topology::Part::kPackage && domain.cores.first == row.first) {
          out_ += "package " + std::to_string(domain.number) + "\n";
        }
      }
      draw_row(row);
    }
    return std::move(out_);
  }

 private:
  std::vector<CoreRange> ranges_of(Topology::Part part) const {
    std::vector<CoreRange> ranges;
    for (const Topology::Domain& domain : topology_.domains) {
      if (domain.part == part) ranges.push_back(domain.cores);
    }
    return ranges;
  }
  // Cores that no row has: of packages without memory of their own.
  void cover_the_rest(std::vector<CoreRange>& rows) const {
    const auto by_first = [](const CoreRange& a, const CoreRange& b) { return a.first < b.first; };
    std::sort(rows.begin(), rows.end(), by_first);
    std::uint32_t next = 0;
    const auto count = static_cast<std::uint32_t>(topology_.cores.size());
    for (std::size_t i = 0, given = rows.size(); i <= given; ++i) {
      const std::uint32_t first = i < given ? rows[i].first : count;
      if (first > next) rows.push_back({next, first});
      if (i < given) next = std::max(next, rows[i].end);
    }
    std::sort(rows.begin(), rows.end(), by_first);
  }

  std::string label_of(const CoreRange& row) const {
    for (const Topology::Domain& domain : topology_.domains) {
      if (domain.part == Topology::Part::kNuma && domain.cores == row) return "NUMA " + std::to_string(domain.number);
    }
    return "cores";
  }

  char cell(std::uint32_t core) const {
    const std::vector<std::uint32_t>& threads = topology_.cores[core];
    char mark = '.';
    for (std::size_t i = 0; i < placed_.size(); ++i) {
      const TopologyPlan& plan = placed_[i].plan;
      std::size_t used = 0, claimed = 0;
      for (const std::uint32_t thread : threads) {
        used += contains(plan.threads, thread) ? 1 : 0;
        claimed += contains(plan.claimed, thread) ? 1 : 0;
      }
      if (claimed == 0) continue;
      if (mark != '.') return '*';  // several pods have threads of it
      const char letter = letter_of(i);
      mark = used == threads.size() ? letter : static_cast<char>(letter - 'A' + 'a');
    }
    return mark;
  }

  // Cells in brackets, one pair for each L3 cache; broken into lines where they are too many.
  void draw_row(const CoreRange& row) {
    const std::string label =
        "  " + label_of(row) + std::string(9 - std::min<std::size_t>(label_of(row).size(), 8), ' ');
    std::vector<std::string> groups;
    const std::vector<CoreRange> caches = ranges_of(Topology::Part::kL3);
    for (std::uint32_t core = row.first; core < row.end;) {
      std::uint32_t end = row.end;
      for (const CoreRange& cache : caches) {
        if (core >= cache.first && core < cache.end) end = std::min(end, cache.end);
      }
      std::string cells;
      for (; core < end; ++core) cells += cell(core);
      groups.push_back("[" + cells + "]");
    }
    std::string line = label;
    for (std::string group : groups) {
      if (line.size() > label.size() && line.size() + 1 + group.size() > width_) {
        out_ += line + "\n";
        line = std::string(label.size(), ' ');
      }
      // One cache of more cores than a line holds.
      while (line.size() + group.size() + 1 > width_ && group.size() > width_ - label.size()) {
        const std::size_t here = width_ - line.size();
        out_ += line + group.substr(0, here) + "\n";
        group = group.substr(here);
        line = std::string(label.size(), ' ');
      }
      line += (line.size() > label.size() ? " " : "") + group;
    }
    out_ += line + "\n";
    draw_memory(row, label.size());
    draw_devices(row, label.size());
  }

  void draw_memory(const CoreRange& row, std::size_t indent) {
    for (std::size_t i = 0; i < topology_.memories.size(); ++i) {
      const Topology::Memory& memory = topology_.memories[i];
      const bool here = memory.cores == row || (memory.cores.first == row.first && memory.cores.meets(row));
      if (!here || memory.mem_mib == 0) continue;
      std::string line = std::string(indent, ' ') + "memory " + format_mem_mib(memory.mem_mib);
      if (label_of(row) != "NUMA " + std::to_string(memory.numa)) line += " (NUMA " + std::to_string(memory.numa) + ")";
      for (std::size_t request = 0; request < placed_.size(); ++request) {
        for (const auto& [numa, mem_mib] : placed_[request].plan.mem_mib) {
          if (numa == memory.numa) line += std::string("  ") + letter_of(request) + " " + format_mem_mib(mem_mib);
        }
      }
      out_ += line + "\n";
    }
  }

  void draw_devices(const CoreRange& row, std::size_t indent) {
    std::string line;
    for (std::uint32_t i = 0; i < topology_.devices.size(); ++i) {
      const Topology::Device& device = topology_.devices[i];
      if (!device.is_gpu || device.cores.first < row.first || device.cores.first >= row.end) continue;
      std::string word = printable(device.name);
      for (std::size_t request = 0; request < placed_.size(); ++request) {
        if (contains(placed_[request].plan.gpus, i)) word += std::string("=") + letter_of(request);
      }
      if (!line.empty() && line.size() + 1 + word.size() > width_) {
        out_ += line + "\n";
        line.clear();
      }
      line += (line.empty() ? std::string(indent, ' ') + "GPUs " : " ") + word;
    }
    if (!line.empty()) out_ += line + "\n";
  }

  const TopologyNode& node_;
  const Topology& topology_;
  const std::vector<PlacedRequest>& placed_;
  const std::size_t width_;
  std::string out_;
};

}  // namespace

char letter_of(std::size_t request) { return static_cast<char>('A' + request % 26); }

std::string topology_picture(const TopologyNode& node, const std::vector<PlacedRequest>& placed, std::size_t width) {
  return Picture(node, placed, width).draw();
}

std::string ranges_in_words(const std::vector<std::uint32_t>& sorted) {
  std::string words;
  for (std::size_t i = 0; i < sorted.size();) {
    std::size_t end = i + 1;
    while (end < sorted.size() && sorted[end] == sorted[end - 1] + 1) ++end;
    words += (words.empty() ? "" : ",") + std::to_string(sorted[i]);
    if (end - i > 1) words += "-" + std::to_string(sorted[end - 1]);
    i = end;
  }
  return words;
}

std::string plan_in_words(const Topology& topology, const TopologyPlan& plan) {
  std::string words = "threads " + ranges_in_words(plan.threads);
  if (plan.claimed.size() > plan.threads.size()) words += " (the others of these cores stay idle)";
  std::vector<std::string> memories, gpus;
  for (const auto& [numa, mem_mib] : plan.mem_mib) {
    memories.push_back(format_mem_mib(mem_mib) + " of NUMA node " + std::to_string(numa));
  }
  for (const std::uint32_t gpu : plan.gpus) gpus.push_back(printable(topology.devices[gpu].name));
  if (!memories.empty()) words += "; memory " + join(memories, ", ");
  if (!gpus.empty()) words += "; GPUs " + join(gpus, ", ");
  return words;
}

}  // namespace berth::tools
