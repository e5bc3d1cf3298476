// LogReader: answers ReadLog from the pods' output files. A request that may wait is held until there is more or the
// pod has ended; files are looked at every 20 ms while somebody waits, and never otherwise. Loop thread only.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "agent/core/node_core.h"
#include "agent/io/layout.h"
#include "api/wire/loop.h"
#include "state/requests.h"

namespace berth::agent {

class LogReader {
 public:
  using Send = std::function<void(state::LogReply)>;
  LogReader(wire::Loop& loop, const Layout& layout, const NodeCore& core, std::string node_name, Send send);

  void on_read(state::ReadLog request);
  void poke();   // a pod started or ended
  void clear();  // the connection is gone, and with it everybody who waited

 private:
  struct Waiter {
    state::ReadLog request;
    std::int64_t until_ms = 0;
  };
  // nullopt: nothing to say yet.
  std::optional<state::LogReply> answer(const state::ReadLog& request, bool may_wait) const;
  void look();
  void arm();

  wire::Loop& loop_;
  const Layout& layout_;
  const NodeCore& core_;
  const std::string node_name_;
  const Send send_;
  std::vector<Waiter> waiters_;
  std::shared_ptr<wire::Loop::Timer> timer_;
};

}  // namespace berth::agent
