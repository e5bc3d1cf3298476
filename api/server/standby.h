// Standby: the sessions of a server that does not lead. It answers how the servers stand, and tells everybody else
// where the leader is. Loop thread only.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>

#include "api/server/server.h"
#include "api/wire/connection.h"
#include "state/store/shared_store.h"

namespace berth::server {

class Standby {
 public:
  Standby(wire::Loop& loop, const ServerOptions& options, const store::SharedStore& store);
  void accept(std::shared_ptr<wire::Connection> connection);

 private:
  struct Session {
    std::shared_ptr<wire::Connection> connection;
    bool greeted = false;
    std::int64_t since_us = 0;
  };
  void on_frame(std::uint64_t id, std::span<const std::byte> bytes);
  void close(std::uint64_t id, state::Error why);
  void keep_house();

  wire::Loop& loop_;
  const ServerOptions& options_;
  const store::SharedStore& store_;
  std::map<std::uint64_t, Session> sessions_;
  std::uint64_t last_session_ = 0;
  std::shared_ptr<wire::Loop::Timer> house_timer_;
};

// What a server that does not lead says of itself.
state::ServerInfo standby_info(const ServerOptions& options, const store::SharedStore& store);

}  // namespace berth::server
