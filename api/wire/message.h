// Messages: everything that crosses a connection, as values, with encode and decode (FlatBuffers, schema/wire.fbs).
// A frame on the wire is a little-endian uint32 length followed by that many bytes of one encoded Message.
// Any bytes are safe input to decode: it verifies structure, enum ranges and bounds.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <variant>

#include "state/requests.h"
#include "state/result.h"

namespace berth::wire {

inline constexpr std::uint32_t kProtocolVersion = 1;
inline constexpr std::uint32_t kProtocolVersionOldest = 1;
inline constexpr std::size_t kMaxFrameBytes = 32U << 20;
// A peer that has not proved who it is gets no more than this.
inline constexpr std::size_t kMaxFrameBytesUnproven = 64U << 10;

// kStatus: a client that asks how the servers stand; a standby answers it, too.
enum class PeerRole : std::uint8_t { kClient = 0, kAgent = 1, kJoin = 2, kStatus = 3 };

// The first message of each side. The server answers with Welcome or an Error and closes.
struct Hello {
  std::uint32_t version_min = kProtocolVersionOldest;
  std::uint32_t version_max = kProtocolVersion;
  PeerRole role = PeerRole::kClient;
  std::string software;  // "berth 0.1.0"
};
struct Welcome {
  std::uint32_t version = kProtocolVersion;
  std::string software;
  std::string cluster;
};
// On a TLS connection without a client certificate: proves the token, brings a certificate request.
struct JoinRequest {
  std::string token_id, token_secret;
  std::string name;  // the node's name, or empty for a user token
  std::string csr_pem;
};
struct JoinReply {
  std::string certificate_pem, authority_pem;
};

using Body = std::variant<Hello, Welcome, JoinRequest, JoinReply, state::ClientRequest, state::ServerReply,
                          state::AgentHello, state::AgentStatus, state::AgentHeartbeat, state::LogReply,
                          state::AgentWelcome, state::StartPods, state::StopPods, state::ForgetPods, state::ForgetJobs,
                          state::ReadLog, state::ArchiveRequest, state::NetworkUpdate, state::NodeRequest,
                          state::NodeAsk, state::NodeAnswer, state::ExecStart, state::ExecPart>;

struct Message {
  std::uint64_t request = 0;  // a client's number for its request; replies carry it back. 0 where it has no meaning
  Body body;
};

// The encoded message with its length in front, ready to send.
std::string encode_frame(const Message& message);
// The bytes of one frame without the length.
state::Result<Message> decode_message(std::span<const std::byte> bytes);

}  // namespace berth::wire
