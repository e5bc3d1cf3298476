#include "api/client/client.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <deque>
#include <fcntl.h>
#include <thread>
#include <unistd.h>

#include "api/wire/blocking.h"
#include "api/wire/servers.h"

namespace berth::client {

using state::Error;
using state::ErrorCode;
using state::Result;
using state::Status;
using state::Unit;
using wire::Deadline;
using wire::Endpoint;

struct Client::Impl {
  std::unique_ptr<wire::BlockingStream> stream;
  wire::Welcome welcome;
  std::uint64_t last_request = 0;
  std::deque<wire::Message> inbox;  // what came while call() waited for something else
};

namespace {

Result<std::string> read_file(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  std::string text;
  char buffer[4096];
  ssize_t got = fd < 0 ? -1 : 0;
  while (fd >= 0 && (got = ::read(fd, buffer, sizeof(buffer))) > 0) text.append(buffer, static_cast<std::size_t>(got));
  const int error = errno;
  if (fd >= 0) ::close(fd);
  if (got < 0) return Error{ErrorCode::kNotFound, "", path + ": " + std::strerror(error), 0};
  return text;
}

Result<std::shared_ptr<wire::TlsContext>> identity(const Endpoint& endpoint, const std::string& directory) {
  const auto authority = read_file(directory + "/authority.crt");
  const auto certificate = read_file(directory + "/user.crt");
  const auto key = read_file(directory + "/user.key");
  for (const auto* file : {&authority, &certificate, &key}) {
    if (file->ok()) continue;
    return Error{ErrorCode::kDenied, "",
                 "no identity for the server at " + endpoint.to_string() + ": " + file->error().message +
                     " (get one with 'berth login')",
                 0};
  }
  auto tls = wire::client_tls(*authority, *certificate, *key);
  if (!tls) tls.error().message += " (in " + directory + ")";
  return tls;
}

Error unreachable(const Endpoint& endpoint, Error error) {
  const std::string server = "the server at " + endpoint.to_string();
  if (error.code == ErrorCode::kUnavailable && error.message == "timeout") error.message = "no answer in time";
  if (error.code == ErrorCode::kUnavailable) {
    error.message =
        "cannot reach " + server + ": " + error.message +
        (endpoint.is_unix ? " (is 'berth server' or 'berth dev' running?)" : " (is 'berth server' running there?)");
  } else {
    error.message = "cannot use " + server + ": " + error.message;
  }
  return error;
}

Error too_large(std::size_t bytes) {
  return {ErrorCode::kTooLarge, "",
          "the request has " + std::to_string(bytes >> 20) + " MiB; accepted: at most " +
              std::to_string(wire::kMaxFrameBytes >> 20) + " MiB, so send it in parts",
          0};
}

// About what the request takes in a frame, before it is encoded: nothing near 2 GiB may reach the encoder.
std::size_t size_estimate(const state::ClientRequest& request) {
  const auto* submit = std::get_if<state::SubmitRequest>(&request);
  std::size_t size = 0;
  if (submit != nullptr) {
    for (const state::JobSpec& job : submit->jobs) {
      size += job.launch.size() + job.name.size() + job.elements.ranges().size() * sizeof(state::IndexRange);
    }
  }
  return size;
}

}  // namespace

Client::Client(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Client::~Client() = default;

// One server, once.
Result<std::unique_ptr<Client>> Client::connect_to(const Endpoint& endpoint, const ClientOptions& options,
                                                   std::int64_t timeout_ms) {
  std::shared_ptr<wire::TlsContext> tls;
  if (!endpoint.is_unix) {
    auto made = identity(endpoint, options.identity_dir);
    if (!made) return made.error();
    tls = std::move(*made);
  }
  const Deadline deadline = Deadline::after_ms(timeout_ms);
  auto impl = std::make_unique<Impl>();
  auto stream = wire::BlockingStream::open(endpoint, std::move(tls), deadline);
  if (!stream) return unreachable(endpoint, stream.error());
  impl->stream = std::move(*stream);
  auto welcome = wire::shake_hands(*impl->stream, options.role, deadline);
  if (!welcome) return wire::is_not_leading(welcome.error()) ? welcome.error() : unreachable(endpoint, welcome.error());
  impl->welcome = std::move(*welcome);
  return std::unique_ptr<Client>(new Client(std::move(impl)));
}

// Goes from one server to the next until one serves. Where a standby answers, somebody will lead soon, and is waited
// for.
Result<std::unique_ptr<Client>> Client::connect(const ClientOptions& options) {
  auto list = wire::parse_endpoints(options.endpoint, "server");
  if (!list) return list.error();
  const bool several = list->size() > 1;
  const std::string all = options.endpoint;
  wire::Servers servers(std::move(*list));
  constexpr std::int64_t kOneOfSeveralMs = 2'000, kElectionMs = 15'000, kPauseMs = 100;
  const std::int64_t try_ms =
      several ? std::min(options.connect_timeout_ms, kOneOfSeveralMs) : options.connect_timeout_ms;
  const Deadline election = Deadline::after_ms(kElectionMs);
  for (bool standby = false;;) {
    auto made = connect_to(servers.current(), options, try_ms);
    if (made) return made;
    const Error& why = made.error();
    if (why.code != ErrorCode::kUnavailable) return made;
    standby = standby || wire::is_not_leading(why);
    if (servers.next(why)) continue;
    if (!standby || election.left_ms() == 0) {
      if (!several) return made;
      return Error{why.code, why.field, "none of the servers " + all + " serves; the last one: " + why.message,
                   why.retry_after_ms};
    }
    standby = false;
    std::this_thread::sleep_for(std::chrono::milliseconds(kPauseMs));
  }
}

Result<std::uint64_t> Client::send(state::ClientRequest request) {
  if (const std::size_t size = size_estimate(request); size > wire::kMaxFrameBytes) return too_large(size);
  return send_body(std::move(request));
}

Result<std::uint64_t> Client::send(state::ArchiveRequest request) { return send_body(std::move(request)); }
Result<std::uint64_t> Client::send(state::NodeRequest request) { return send_body(std::move(request)); }

Status Client::send(std::uint64_t number, state::ExecPart part) {
  return impl_->stream->send(wire::encode_frame({number, std::move(part)}), Deadline::after_ms(-1));
}

Result<std::uint64_t> Client::send_body(wire::Body body) {
  const std::uint64_t number = ++impl_->last_request;
  const std::string frame = wire::encode_frame({number, std::move(body)});
  if (frame.size() - sizeof(std::uint32_t) > wire::kMaxFrameBytes) return too_large(frame.size());
  if (Status sent = impl_->stream->send(frame, Deadline::after_ms(-1)); !sent) return sent.error();
  return number;
}

Result<wire::Message> Client::receive(std::int64_t timeout_ms) {
  if (!impl_->inbox.empty()) {
    wire::Message message = std::move(impl_->inbox.front());
    impl_->inbox.pop_front();
    return message;
  }
  return impl_->stream->receive(Deadline::after_ms(timeout_ms));
}

Result<state::ServerReply> Client::call(state::ClientRequest request) { return reply_to(send(std::move(request))); }
Result<state::ServerReply> Client::call(state::ArchiveRequest request) { return reply_to(send(std::move(request))); }
Result<state::ServerReply> Client::call(state::NodeRequest request) { return reply_to(send(std::move(request))); }

Result<state::ServerReply> Client::reply_to(const Result<std::uint64_t>& number) {
  if (!number) return number.error();
  for (;;) {
    auto message = impl_->stream->receive(Deadline::after_ms(-1));
    if (!message) return message.error();
    auto* reply = std::get_if<state::ServerReply>(&message->body);
    auto* error = reply == nullptr ? nullptr : std::get_if<Error>(reply);
    // An error without a number is about the connection as a whole: nothing more will come.
    if (error != nullptr && (message->request == *number || message->request == 0)) return std::move(*error);
    if (message->request != *number) {
      impl_->inbox.push_back(std::move(*message));
      continue;
    }
    if (reply == nullptr) return Error{ErrorCode::kProtocol, "", "the server sent an unexpected reply", 0};
    return std::move(*reply);
  }
}

int Client::fd() const { return impl_->stream->fd(); }
const wire::Welcome& Client::welcome() const { return impl_->welcome; }

}  // namespace berth::client
