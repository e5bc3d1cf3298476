// What people and files say of resources: lists of cpus, countables, and how nodes are connected.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "placement/switch_tree.h"
#include "state/resources.h"
#include "state/topology.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace berth;
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data + 1), size - 1);
  if (data[0] % 3 == 0) {
    const auto tree = placement::SwitchTree::parse(text);
    if (!tree) return 0;
    const auto& switches = tree->switches();
    for (std::size_t i = 0; i < switches.size(); ++i) {
      // Leaves have nodes, others have switches below them, which came before.
      if ((switches[i].height == 0) != switches[i].switches.empty() || switches[i].leaves.empty()) std::abort();
      for (const std::uint32_t below : switches[i].switches) {
        if (below >= i || switches[below].above != i || switches[below].height >= switches[i].height) std::abort();
      }
    }
  } else if (data[0] % 3 == 1) {
    std::vector<std::uint32_t> cpus, again;
    if (!state::parse_cpus(text, cpus)) return 0;
    if (!state::parse_cpus(state::format_cpus(cpus), again) || again != cpus) std::abort();
  } else if (const auto count = state::parse_countable(text, "resource"); count) {
    if (!state::is_countable_name(count->name) || count->count == 0 || count->count > state::kCountMax) std::abort();
  }
  return 0;
}
