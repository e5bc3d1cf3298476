// Keys: where everything is in etcd, below the prefix of the URL.
//
//   cluster                    whose it is: the format and the fingerprint of the authority
//   leader                     who leads. Written at an election and never else: the revision of that is the term
//   beat                       written by the leader again and again: it lives
//   head                       the index of the last batch
//   batches/FIRST/CHUNK        the groups of batches (group_codec.h)
//   snapshots/INDEX/CHUNK      the cluster after that batch; .../end is written last, and makes it count
//   servers/ID                 what each server says of itself
#pragma once

#include <array>
#include <charconv>
#include <cstdint>
#include <cstdio>
#include <optional>
#include <string>
#include <string_view>

#include "state/etcd/etcd_client.h"

namespace berth::etcd {

struct Keys {
  explicit Keys(const std::string& prefix)
      : cluster(prefix + "/cluster"),
        leader(prefix + "/leader"),
        beat(prefix + "/beat"),
        head(prefix + "/head"),
        batches(prefix + "/batches/"),
        snapshots(prefix + "/snapshots/"),
        servers(prefix + "/servers/") {}

  const std::string cluster, leader, beat, head, batches, snapshots, servers;

  std::string batch(std::uint64_t first, std::uint32_t chunk) const {
    return batches + digits(first, 20) + "/" + digits(chunk, 6);
  }
  Range batches_from(std::uint64_t first) const {
    Range range = all_below(batches);
    range.key = batch(first, 0);
    return range;
  }
  std::string snapshot(std::uint64_t index) const { return snapshots + digits(index, 20) + "/"; }
  std::string snapshot_chunk(std::uint64_t index, std::uint32_t chunk) const {
    return snapshot(index) + digits(chunk, 6);
  }
  std::string snapshot_end(std::uint64_t index) const { return snapshot(index) + "end"; }

  static std::string digits(std::uint64_t number, int width) {
    std::array<char, 32> text{};
    std::snprintf(text.data(), text.size(), "%0*llu", width, static_cast<unsigned long long>(number));
    return text.data();
  }
};

inline std::optional<std::uint64_t> to_number(std::string_view text) {
  std::uint64_t number = 0;
  const auto [end, wrong] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (wrong != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return number;
}

}  // namespace berth::etcd
