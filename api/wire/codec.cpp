// Frames to messages and back, and the first words of both sides.
#include <bit>
#include <cstring>
#include <memory>

#include "api/wire/codec_internal.h"

namespace berth::wire {

static_assert(std::endian::native == std::endian::little, "the frame's length is written as it lies in memory");

namespace codec {

static Encoded encode(Builder& b, const Hello& m) {
  const auto software = text(b, m.software);
  return {fbs::Body::Hello,
          fbs::CreateHello(b, m.version_min, m.version_max, static_cast<std::uint8_t>(m.role), software).Union()};
}

static Encoded encode(Builder& b, const Welcome& m) {
  const auto software = text(b, m.software);
  const auto cluster = text(b, m.cluster);
  return {fbs::Body::Welcome, fbs::CreateWelcome(b, m.version, software, cluster).Union()};
}

static Encoded encode(Builder& b, const JoinRequest& m) {
  const auto id = text(b, m.token_id);
  const auto secret = text(b, m.token_secret);
  const auto name = text(b, m.name);
  const auto csr = text(b, m.csr_pem);
  return {fbs::Body::JoinRequest, fbs::CreateJoinRequest(b, id, secret, name, csr).Union()};
}

static Encoded encode(Builder& b, const JoinReply& m) {
  const auto certificate = text(b, m.certificate_pem);
  const auto authority = text(b, m.authority_pem);
  return {fbs::Body::JoinReply, fbs::CreateJoinReply(b, certificate, authority).Union()};
}

static Encoded encode(Builder& b, const state::ClientRequest& m) { return encode_request(b, m); }
static Encoded encode(Builder& b, const state::ServerReply& m) { return encode_reply(b, m); }

namespace {

bool decode_first_words(Reader& in, fbs::Body type, const void* table, Body& out) {
  switch (type) {
    case fbs::Body::Hello: {
      const auto& t = as<fbs::Hello>(table);
      out = Hello{t.version_min(), t.version_max(), in.one_of(t.role(), PeerRole::kStatus), in.text(t.software())};
      return true;
    }
    case fbs::Body::Welcome: {
      const auto& t = as<fbs::Welcome>(table);
      out = Welcome{t.version(), in.text(t.software()), in.text(t.cluster())};
      return true;
    }
    case fbs::Body::JoinRequest: {
      const auto& t = as<fbs::JoinRequest>(table);
      out = JoinRequest{in.text(t.token_id()), in.text(t.token_secret()), in.text(t.name()), in.text(t.csr_pem())};
      return true;
    }
    case fbs::Body::JoinReply: {
      const auto& t = as<fbs::JoinReply>(table);
      out = JoinReply{in.text(t.certificate_pem()), in.text(t.authority_pem())};
      return true;
    }
    default:
      return false;
  }
}

// A builder for each thread, so that a frame costs no allocation but its own. One that a rare big frame has made grow
// is given back.
struct FrameBuilder {
  static constexpr std::size_t kKeepBytes = 4U << 20;
  Builder builder{16 * 1024};

  std::string take() {
    const std::uint32_t size = builder.GetSize();
    std::string out;
    out.reserve(sizeof(size) + size);
    out.append(reinterpret_cast<const char*>(&size), sizeof(size));
    out.append(reinterpret_cast<const char*>(builder.GetBufferPointer()), size);
    if (size > kKeepBytes) builder.Reset();
    builder.Clear();
    return out;
  }
};

state::Result<Message> decode_aligned(const std::uint8_t* bytes, std::size_t size) {
  const state::Error malformed{state::ErrorCode::kProtocol, "", "the frame is not a valid message", 0};
  if (!verify(bytes, size)) return malformed;
  const auto* table = fb::GetRoot<fbs::Message>(bytes);
  if (table->body() == nullptr) return malformed;
  Reader in(size);
  Message out;
  out.request = table->request();
  const bool known = decode_request(in, table->body_type(), table->body(), out.body) ||
                     decode_archive_request(in, table->body_type(), table->body(), out.body) ||
                     decode_agent(in, table->body_type(), table->body(), out.body) ||
                     decode_node(in, table->body_type(), table->body(), out.body) ||
                     decode_exec(in, table->body_type(), table->body(), out.body) ||
                     decode_reply(in, table->body_type(), table->body(), out.body) ||
                     decode_first_words(in, table->body_type(), table->body(), out.body);
  if (!known || !in.good()) return malformed;
  return out;
}

}  // namespace

}  // namespace codec

std::string encode_frame(const Message& message) {
  static thread_local codec::FrameBuilder frame;
  codec::Builder& b = frame.builder;
  const codec::Encoded body = std::visit([&b](const auto& m) { return codec::encode(b, m); }, message.body);
  b.Finish(fbs::CreateMessage(b, message.request, body.first, body.second));
  return frame.take();
}

state::Result<Message> decode_message(std::span<const std::byte> bytes) {
  // FlatBuffers wants its eights aligned, and frames lie in a stream as they come: a copy costs little beside the
  // decoding.
  constexpr std::size_t kAlign = 8;
  const auto* data = reinterpret_cast<const std::uint8_t*>(bytes.data());
  if (bytes.size() > kMaxFrameBytes || reinterpret_cast<std::uintptr_t>(data) % kAlign == 0) {
    return codec::decode_aligned(data, bytes.size());
  }
  constexpr std::size_t kKeepBytes = 1U << 20;
  static thread_local std::unique_ptr<std::uint64_t[]> kept;
  std::unique_ptr<std::uint64_t[]> own;
  std::uint64_t* room = nullptr;
  if (bytes.size() > kKeepBytes) {
    own = std::make_unique_for_overwrite<std::uint64_t[]>(bytes.size() / kAlign + 1);
    room = own.get();
  } else {
    if (kept == nullptr) kept = std::make_unique_for_overwrite<std::uint64_t[]>(kKeepBytes / kAlign);
    room = kept.get();
  }
  std::memcpy(room, bytes.data(), bytes.size());
  return codec::decode_aligned(reinterpret_cast<const std::uint8_t*>(room), bytes.size());
}

}  // namespace berth::wire
