// Outbox: a delivery's effects made into frames. What goes to one agent in a row and is of one kind shares a frame;
// what would be too long for a frame is parted. Encoding is the larger part of sending: it is done here, on the
// journal's thread, beside the loop.
#pragma once

#include <boost/unordered/unordered_flat_map.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "scheduler/core.h"

namespace berth::server {

// What goes to one session, ready to send; `special` is what only the loop's thread can finish.
struct Outgoing {
  std::uint64_t session = 0;
  std::uint64_t request = 0;  // of a reply
  std::string frame;
  std::unique_ptr<scheduler::Effect> special;
};

class Outbox {
 public:
  // `complete`: adds to what the core knows of the server.
  explicit Outbox(std::function<void(state::ServerInfo&)> complete = {}) : complete_(std::move(complete)) {}
  void add(std::vector<scheduler::Effect>&& effects);
  std::vector<Outgoing> pack();  // everything added, in order

 private:
  bool merge(scheduler::ToAgent& order);
  std::function<void(state::ServerInfo&)> complete_;
  std::vector<scheduler::Effect> effects_;
  boost::unordered_flat_map<std::uint64_t, std::size_t> last_;  // agent's session -> its last effect
};

// A reply's frame; an error's where the reply would be longer than a frame may be.
std::string encode_reply(std::uint64_t request, state::ServerReply body);

}  // namespace berth::server
