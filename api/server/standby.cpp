#include "api/server/standby.h"

#include <vector>

#include "api/server/clock.h"
#include "api/server/outbox.h"
#include "api/wire/message.h"
#include "api/wire/servers.h"

namespace berth::server {

using state::Error;
using state::ErrorCode;
using wire::PeerIdentity;

namespace {

constexpr std::size_t kSessionsMax = 10'000;
constexpr std::int64_t kSessionUs = 10'000'000;  // nobody stays here for long
constexpr std::int64_t kHouseMs = 1'000;

}  // namespace

state::ServerInfo standby_info(const ServerOptions& options, const store::SharedStore& store) {
  state::ServerInfo info;
  info.version = options.version;
  info.cluster = options.core.cluster_name;
  info.started_at = options.core.started_at;
  store.tell(info.store);
  info.journal_index = info.store.durable_index;
  return info;
}

Standby::Standby(wire::Loop& loop, const ServerOptions& options, const store::SharedStore& store)
    : loop_(loop), options_(options), store_(store) {
  keep_house();
}

void Standby::accept(std::shared_ptr<wire::Connection> connection) {
  if (sessions_.size() >= kSessionsMax) {
    connection->send(encode_reply(0, wire::not_leading(store_.leader())));
    return connection->close_after_send();
  }
  const std::uint64_t id = ++last_session_;
  sessions_[id] = {connection, false, steady_clock_us()};
  connection->set_max_frame(wire::kMaxFrameBytesUnproven);
  connection->start({[this, id](std::span<const std::byte> bytes) { on_frame(id, bytes); },
                     [this, id](const Error&) { sessions_.erase(id); },
                     {}});
}

void Standby::close(std::uint64_t id, Error why) {
  const auto found = sessions_.find(id);
  found->second.connection->send(encode_reply(0, std::move(why)));
  found->second.connection->close_after_send();
  sessions_.erase(found);
}

void Standby::on_frame(std::uint64_t id, std::span<const std::byte> bytes) {
  const auto found = sessions_.find(id);
  if (found == sessions_.end()) return;
  Session& session = found->second;
  auto message = wire::decode_message(bytes);
  if (!message) return close(id, std::move(message.error()));
  if (!session.greeted) {
    const auto* hello = std::get_if<wire::Hello>(&message->body);
    if (hello == nullptr) return close(id, {ErrorCode::kProtocol, "", "a message that has no place here", 0});
    const bool proven = session.connection->peer().kind != PeerIdentity::Kind::kUnproven;
    if (hello->role != wire::PeerRole::kStatus) return close(id, wire::not_leading(store_.leader()));
    if (!proven)
      return close(id, {ErrorCode::kDenied, "", "a client needs a user's certificate: 'berth login' gets one", 0});
    session.greeted = true;
    session.connection->send(wire::encode_frame(
        {0, wire::Welcome{wire::kProtocolVersion, "berth " + options_.version, options_.core.cluster_name}}));
    return;
  }
  auto* request = std::get_if<state::ClientRequest>(&message->body);
  if (request == nullptr || !std::holds_alternative<state::ServerInfoRequest>(*request)) {
    return close(id, wire::not_leading(store_.leader()));
  }
  session.connection->send(encode_reply(message->request, standby_info(options_, store_)));
}

void Standby::keep_house() {
  const std::int64_t now = steady_clock_us();
  std::erase_if(sessions_, [now](const auto& entry) { return now - entry.second.since_us > kSessionUs; });
  house_timer_ = loop_.after_ms(kHouseMs, [this] { keep_house(); });
}

}  // namespace berth::server
