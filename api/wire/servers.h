// Several servers of one cluster, of which one leads: lists of addresses, what a standby says to whoever comes to it,
// and whom to try next.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "api/wire/connection.h"
#include "state/result.h"

namespace berth::wire {

// "a:7117,b:7117": at least one, none twice.
state::Result<std::vector<Endpoint>> parse_endpoints(std::string_view text, std::string_view field);
std::string to_string(const std::vector<Endpoint>& endpoints);

// A standby's answer. `leader` is an address, or "" while nobody leads.
state::Error not_leading(const std::string& leader);
bool is_not_leading(const state::Error& error);
std::optional<Endpoint> leader_named_in(const state::Error& error);

// Whom to try: the one that served last, then whom a standby names, then the others in turn.
class Servers {
 public:
  explicit Servers(std::vector<Endpoint> list) : list_(std::move(list)), current_(list_.front()) {}

  const Endpoint& current() const { return current_; }
  std::size_t size() const { return list_.size(); }
  // The current one did not serve, and current() is another now. False: all were tried, so it is time for a pause.
  bool next(const state::Error& why);
  void served();

 private:
  std::vector<Endpoint> list_;
  Endpoint current_;
  std::size_t at_ = 0;     // the place in the list that comes next, less one
  std::size_t tried_ = 0;  // since somebody served or we paused
};

}  // namespace berth::wire
