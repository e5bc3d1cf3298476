#include "api/wire/enrol.h"

#include <algorithm>
#include <chrono>
#include <thread>

#include "api/wire/blocking.h"
#include "api/wire/servers.h"
#include "api/wire/tls_internal.h"

namespace berth::wire {

using state::Error;
using state::ErrorCode;
using state::Result;

namespace {

// What came back must be of the token's authority and for the key that we made.
state::Status check(const JoinReply& reply, const KeyAndRequest& own, const std::string& fingerprint) {
  const Error bad{ErrorCode::kProtocol, "", "the server sent a certificate that does not fit the request", 0};
  const CertPtr authority = read_certificate(reply.authority_pem);
  const CertPtr certificate = read_certificate(reply.certificate_pem);
  const KeyPtr key = read_key(own.key_pem);
  if (!authority || !certificate || !key || fingerprint_of(authority.get()) != fingerprint) return bad;
  if (X509_check_private_key(certificate.get(), key.get()) != 1) return bad;
  if (X509_verify(certificate.get(), X509_get0_pubkey(authority.get())) != 1) return bad;
  return state::Unit{};
}

// With one server.
Result<Enrolment> enrol_at(const Endpoint& where, const JoinToken& token, const std::string& node_name,
                           std::int64_t timeout_ms) {
  const auto own = make_key_and_request(node_name.empty() ? "user" : "node:" + node_name);
  if (!own) return own.error();
  auto tls = joining_tls(token.fingerprint);
  if (!tls) return tls.error();

  const Deadline deadline = Deadline::after_ms(timeout_ms);
  const std::string server = "the server at " + where.to_string();
  const auto in_context = [&](Error error) {
    if (error.code == ErrorCode::kUnavailable && error.message == "timeout") error.message = "no answer in time";
    if (error.code == ErrorCode::kDenied && error.field == "token" && error.message.starts_with("it is not the one")) {
      error.message = server + " is not the one this token was made for";
    } else if (error.code == ErrorCode::kUnavailable && error.retry_after_ms == 0) {
      error.message = "cannot join through " + server + ": " + error.message;
    }
    return error;
  };
  auto stream = BlockingStream::open(where, *tls, deadline);
  if (!stream) return in_context(stream.error());
  if (const auto welcome = shake_hands(**stream, PeerRole::kJoin, deadline); !welcome)
    return in_context(welcome.error());
  const JoinRequest request{token.id, token.secret, node_name, own->csr_pem};
  if (const auto sent = (*stream)->send(encode_frame({1, request}), deadline); !sent) return in_context(sent.error());
  const auto answer = (*stream)->receive(deadline);
  if (!answer) return in_context(answer.error());
  if (const auto* refused = std::get_if<state::ServerReply>(&answer->body)) {
    if (const auto* error = std::get_if<Error>(refused)) return in_context(*error);
  }
  const auto* reply = std::get_if<JoinReply>(&answer->body);
  if (reply == nullptr) return Error{ErrorCode::kProtocol, "", server + " sent an unexpected answer", 0};
  if (const auto good = check(*reply, *own, token.fingerprint); !good) return good.error();
  return Enrolment{own->key_pem, reply->certificate_pem, reply->authority_pem};
}

}  // namespace

Result<Enrolment> enrol(const std::string& endpoints, const std::string& token, const std::string& node_name,
                        std::int64_t timeout_ms) {
  auto list = parse_endpoints(endpoints, "join");
  if (!list) return list.error();
  for (const Endpoint& one : *list) {
    if (one.is_unix) return state::invalid("join", "'" + one.path + "' is a socket's path; accepted: HOST:PORT");
  }
  const auto parsed = parse_token(token);
  if (!parsed) return parsed.error();
  Servers servers(std::move(*list));
  const Deadline deadline = Deadline::after_ms(timeout_ms);
  constexpr std::int64_t kOneOfSeveralMs = 4'000;
  constexpr auto kPause = std::chrono::milliseconds(200);
  for (bool standby = false;;) {
    const std::int64_t left_ms = std::max(deadline.left_ms(), 1);
    auto done = enrol_at(servers.current(), *parsed, node_name,
                         servers.size() > 1 ? std::min(left_ms, kOneOfSeveralMs) : left_ms);
    if (done || done.error().code != ErrorCode::kUnavailable) return done;
    standby = standby || is_not_leading(done.error());
    if (servers.next(done.error())) continue;
    if (!standby || deadline.left_ms() == 0) return done;
    standby = false;
    std::this_thread::sleep_for(kPause);
  }
}

}  // namespace berth::wire
