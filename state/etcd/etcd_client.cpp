#include "state/etcd/etcd_client.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <fstream>
#include <grpc/support/log.h>
#include <grpcpp/grpcpp.h>
#include <mutex>
#include <sstream>
#include <thread>

#include "state/etcd/etcd.grpc.pb.h"

namespace berth::etcd {

namespace pb = ::etcdserverpb;
using state::Error;
using state::ErrorCode;
using state::Result;
using state::Status;
using state::Unit;
using SteadyClock = std::chrono::steady_clock;

namespace {

constexpr std::int64_t kTryMsMin = 150;
constexpr std::int64_t kTryMsMax = 800;
constexpr std::int64_t kConnectMs = 2'000;
constexpr auto kRoundPause = std::chrono::milliseconds(20);

Result<std::string> read_setting(const std::string& path, const char* what) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  if (!file || text.str().empty()) {
    const char* why = file ? "it is empty" : std::strerror(errno);
    return Error{ErrorCode::kInvalid, "store", std::string("cannot read ") + what + " " + path + ": " + why, 0};
  }
  return text.str();
}

void to_pb(const Range& range, pb::RangeRequest& out) {
  out.set_key(range.key);
  out.set_range_end(range.end);
  out.set_limit(range.limit);
  out.set_revision(range.revision);
  out.set_keys_only(range.keys_only);
}

void to_pb(const Op& op, pb::RequestOp& out) {
  switch (op.kind) {
    case Op::Kind::kGet:
      return to_pb(op.range, *out.mutable_request_range());
    case Op::Kind::kPut:
      out.mutable_request_put()->set_key(op.range.key);
      out.mutable_request_put()->set_value(op.value);
      return;
    case Op::Kind::kDelete:
      out.mutable_request_delete_range()->set_key(op.range.key);
      out.mutable_request_delete_range()->set_range_end(op.range.end);
      return;
  }
}

pb::TxnRequest to_pb(const Transaction& transaction) {
  pb::TxnRequest out;
  for (const Condition& condition : transaction.conditions) {
    pb::Compare& compare = *out.add_compare();
    compare.set_result(pb::Compare::EQUAL);
    compare.set_key(condition.key);
    if (condition.of == Condition::Of::kValue) {
      compare.set_target(pb::Compare::VALUE);
      compare.set_value(condition.value);
    } else {
      compare.set_target(pb::Compare::MOD);
      compare.set_mod_revision(condition.mod_revision);
    }
  }
  for (const Op& op : transaction.then) to_pb(op, *out.add_success());
  for (const Op& op : transaction.otherwise) to_pb(op, *out.add_failure());
  return out;
}

KeyValue take(pb::KeyValue& kv) {
  return {std::move(*kv.mutable_key()), std::move(*kv.mutable_value()), kv.create_revision(), kv.mod_revision()};
}

std::vector<KeyValue> take(pb::RangeResponse& response) {
  std::vector<KeyValue> out;
  out.reserve(static_cast<std::size_t>(response.kvs_size()));
  for (pb::KeyValue& kv : *response.mutable_kvs()) out.push_back(take(kv));
  return out;
}

// What another member, or a later try, may answer differently.
bool is_passing(const grpc::Status& status) {
  switch (status.error_code()) {
    case grpc::StatusCode::UNAVAILABLE:
    case grpc::StatusCode::DEADLINE_EXCEEDED:
    case grpc::StatusCode::CANCELLED:
    case grpc::StatusCode::ABORTED:
      return true;
    case grpc::StatusCode::RESOURCE_EXHAUSTED:  // too many requests; but not that its space is used up
      return status.error_message().find("space exceeded") == std::string::npos &&
             status.error_message().find("larger than") == std::string::npos;
    case grpc::StatusCode::UNKNOWN:  // "context deadline exceeded", of a member that waits for the others in vain
      return status.error_message().find("too large") == std::string::npos;
    default:
      return false;
  }
}

Error error_of(const grpc::Status& status) {
  const std::string& text = status.error_message();
  const auto has = [&](const char* word) { return text.find(word) != std::string::npos; };
  ErrorCode code = is_passing(status) ? ErrorCode::kUnavailable : ErrorCode::kInternal;
  if (has("too large")) code = ErrorCode::kTooLarge;
  if (has("space exceeded")) code = ErrorCode::kUnavailable;
  if (status.error_code() == grpc::StatusCode::UNAUTHENTICATED ||
      status.error_code() == grpc::StatusCode::PERMISSION_DENIED || has("authentication") || has("user name")) {
    code = ErrorCode::kDenied;
  }
  std::string message = text.empty() ? "no answer" : text.substr(0, 300);
  if (status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED) message = "no answer in time";
  std::replace(message.begin(), message.end(), '\n', ' ');
  return {code, "", std::move(message), 0};
}

struct Member {
  std::string address;
  std::shared_ptr<grpc::Channel> channel;
  std::unique_ptr<pb::KV::Stub> kv;
  std::unique_ptr<pb::Watch::Stub> watch;
  std::unique_ptr<pb::Auth::Stub> auth;
};

class GrpcWatch final : public Watch {
 public:
  GrpcWatch(pb::Watch::Stub& stub, const std::string& token, const Range& range, std::int64_t from) {
    context_.AddMetadata("hasleader", "true");  // ends the stream where the member has lost the others
    if (!token.empty()) context_.AddMetadata("token", token);
    stream_ = stub.Watch(&context_);
    pb::WatchRequest request;
    auto* create = request.mutable_create_request();
    create->set_key(range.key);
    create->set_range_end(range.end);
    create->set_start_revision(from);
    stream_->Write(request);
  }
  ~GrpcWatch() override {
    context_.TryCancel();
    pb::WatchResponse rest;
    while (stream_->Read(&rest)) continue;
    if (!finished_) stream_->Finish();
  }

  Result<Changes> next() override {
    pb::WatchResponse response;
    while (stream_->Read(&response)) {
      if (response.compact_revision() != 0) {
        Changes gone;
        gone.compacted = true;
        gone.revision = response.header().revision();
        return gone;
      }
      if (response.canceled()) {
        return Error{ErrorCode::kUnavailable, "", "the watch was ended: " + response.cancel_reason(), 0};
      }
      if (response.events().empty()) continue;
      Changes out;
      out.revision = response.header().revision();
      for (pb::Event& event : *response.mutable_events()) {
        out.changes.push_back({event.type() == pb::Event::DELETE, take(*event.mutable_kv())});
      }
      return out;
    }
    finished_ = true;
    return error_of(stream_->Finish());
  }
  void cancel() override { context_.TryCancel(); }

 private:
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<pb::WatchRequest, pb::WatchResponse>> stream_;
  bool finished_ = false;
};

class GrpcClient final : public EtcdClient {
 public:
  GrpcClient(const EtcdUrl& url, std::string password, const std::shared_ptr<grpc::ChannelCredentials>& credentials)
      : user_(url.user), password_(std::move(password)) {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 50);
    arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, static_cast<int>(kConnectMs));  // that is: time to connect
    arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 500);
    arguments.SetInt(GRPC_ARG_DNS_MIN_TIME_BETWEEN_RESOLUTIONS_MS, 1'000);
    arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    arguments.SetMaxReceiveMessageSize(-1);
    arguments.SetMaxSendMessageSize(-1);
    for (const EtcdUrl::Host& host : url.hosts) {
      Member member;
      member.address = host.to_string();
      member.channel = grpc::CreateCustomChannel("dns:///" + member.address, credentials, arguments);
      member.kv = pb::KV::NewStub(member.channel);
      member.watch = pb::Watch::NewStub(member.channel);
      member.auth = pb::Auth::NewStub(member.channel);
      members_.push_back(std::move(member));
    }
  }

  Result<RangeReply> range(const Range& range, std::int64_t timeout_ms) override {
    pb::RangeRequest request;
    to_pb(range, request);
    pb::RangeResponse response;
    const Status done = call(timeout_ms, [&](Member& member, grpc::ClientContext& context) {
      response.Clear();
      return member.kv->Range(&context, request, &response);
    });
    if (!done) return done.error();
    return RangeReply{take(response), response.more(), response.header().revision()};
  }

  Result<TransactionReply> commit(const Transaction& transaction, std::int64_t timeout_ms) override {
    const pb::TxnRequest request = to_pb(transaction);
    pb::TxnResponse response;
    const Status done = call(timeout_ms, [&](Member& member, grpc::ClientContext& context) {
      response.Clear();
      return member.kv->Txn(&context, request, &response);
    });
    if (!done) return done.error();
    TransactionReply reply{response.succeeded(), response.header().revision(), {}};
    for (pb::ResponseOp& op : *response.mutable_responses()) {
      reply.got.emplace_back();
      if (op.has_response_range()) reply.got.back() = take(*op.mutable_response_range());
    }
    return reply;
  }

  Status compact(std::int64_t revision, std::int64_t timeout_ms) override {
    pb::CompactionRequest request;
    request.set_revision(revision);
    pb::CompactionResponse response;
    Status done = call(timeout_ms, [&](Member& member, grpc::ClientContext& context) {
      return member.kv->Compact(&context, request, &response);
    });
    // Somebody else has done it, or a try whose answer was lost.
    if (!done && done.error().message.find("has been compacted") != std::string::npos) return Unit{};
    return done;
  }

  Result<std::unique_ptr<Watch>> watch(const Range& range, std::int64_t from_revision) override {
    if (Status done = authenticate(kTryMsMax); !done) return done.error();
    Member& member = members_[current_];
    if (!member.channel->WaitForConnected(std::chrono::system_clock::now() + std::chrono::milliseconds(kConnectMs))) {
      move_on(static_cast<std::size_t>(&member - members_.data()));
      return Error{ErrorCode::kUnavailable, "", "cannot connect to etcd at " + member.address, 0};
    }
    return std::unique_ptr<Watch>(std::make_unique<GrpcWatch>(*member.watch, token(), range, from_revision));
  }

 private:
  std::string token() {
    const std::lock_guard lock(mutex_);
    return token_;
  }
  void move_on(std::size_t from) {
    std::size_t expected = from;
    current_.compare_exchange_strong(expected, (from + 1) % members_.size());
  }

  // Carries out a call on one member after the other.
  template <class Call>
  Status call(std::int64_t timeout_ms, Call&& one) {
    const auto deadline = SteadyClock::now() + std::chrono::milliseconds(timeout_ms);
    const auto left_ms = [&] {
      return std::chrono::duration_cast<std::chrono::milliseconds>(deadline - SteadyClock::now()).count();
    };
    const std::int64_t try_ms =
        members_.size() == 1 ? timeout_ms : std::clamp(timeout_ms / 2, std::min(kTryMsMin, timeout_ms), kTryMsMax);
    bool asked_again = false;
    Error last{ErrorCode::kUnavailable, "", "no answer in time", 0};
    for (std::size_t tries = 0; left_ms() > 0; ++tries) {
      if (tries != 0 && tries % members_.size() == 0) std::this_thread::sleep_for(kRoundPause);
      if (Status done = authenticate(std::max<std::int64_t>(left_ms(), 1)); !done) return done.error();
      const std::size_t which = current_;
      Member& member = members_[which];
      grpc::ClientContext context;
      // A connection makes progress only while a call waits for it.
      context.set_wait_for_ready(true);
      const std::int64_t wait_ms = std::max<std::int64_t>(std::min(try_ms, left_ms()), 1);
      context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(wait_ms));
      if (const std::string proof = token(); !proof.empty()) context.AddMetadata("token", proof);
      const grpc::Status status = one(member, context);
      if (status.ok()) return Unit{};
      const bool stale_token = status.error_message().find("invalid auth token") != std::string::npos;
      if (stale_token && !asked_again) {
        asked_again = true;
        const std::lock_guard lock(mutex_);
        token_.clear();
        continue;
      }
      last = error_of(status);
      last.message = "etcd at " + member.address + ": " + last.message;
      if (!is_passing(status)) return last;
      move_on(which);
    }
    return last;
  }

  // Fetches a token if one is needed and there is none.
  Status authenticate(std::int64_t timeout_ms) {
    if (user_.empty() || !token().empty()) return Unit{};
    pb::AuthenticateRequest request;
    request.set_name(user_);
    request.set_password(password_);
    const auto deadline = SteadyClock::now() + std::chrono::milliseconds(timeout_ms);
    Error last;
    do {
      const std::size_t which = current_;
      grpc::ClientContext context;
      context.set_deadline(std::chrono::system_clock::now() +
                           std::chrono::milliseconds(std::min<std::int64_t>(timeout_ms, kTryMsMax)));
      context.set_wait_for_ready(true);
      pb::AuthenticateResponse response;
      const grpc::Status status = members_[which].auth->Authenticate(&context, request, &response);
      if (status.ok()) {
        const std::lock_guard lock(mutex_);
        token_ = response.token();
        return Unit{};
      }
      last = error_of(status);
      last.message = "etcd at " + members_[which].address + ": " + last.message;
      if (!is_passing(status)) {
        if (last.code == ErrorCode::kInternal) last.code = ErrorCode::kDenied;
        return last;
      }
      move_on(which);
      std::this_thread::sleep_for(kRoundPause);
    } while (SteadyClock::now() < deadline);
    return last;
  }

  const std::string user_, password_;
  std::vector<Member> members_;
  std::atomic<std::size_t> current_{0};  // whom we ask first
  std::mutex mutex_;
  std::string token_;
};

Result<std::shared_ptr<grpc::ChannelCredentials>> credentials_of(const EtcdUrl& url) {
  if (!url.tls()) return grpc::InsecureChannelCredentials();
  grpc::SslCredentialsOptions options;
  if (url.ca != "system") {
    auto ca = read_setting(url.ca, "the authority");
    if (!ca) return ca.error();
    options.pem_root_certs = std::move(*ca);
  }
  if (!url.cert.empty()) {
    auto cert = read_setting(url.cert, "the certificate");
    if (!cert) return cert.error();
    auto key = read_setting(url.key, "the key");
    if (!key) return key.error();
    options.pem_cert_chain = std::move(*cert);
    options.pem_private_key = std::move(*key);
  }
  return grpc::SslCredentials(options);
}

}  // namespace

Range all_below(const std::string& prefix) {
  std::string end = prefix;
  while (!end.empty() && static_cast<unsigned char>(end.back()) == 0xFF) end.pop_back();
  if (!end.empty()) end.back() = static_cast<char>(static_cast<unsigned char>(end.back()) + 1);
  return {prefix, end, 0, 0, false};
}

Result<std::unique_ptr<EtcdClient>> make_client(const EtcdUrl& url) {
  // Whatever it would print comes back to us as an error, once; it would print it at every try.
  gpr_set_log_function([](gpr_log_func_args*) {});
  std::string password = url.password;
  if (!url.password_file.empty()) {
    auto read = read_setting(url.password_file, "the password");
    if (!read) return read.error();
    password = read->substr(0, read->find_first_of("\r\n"));
  }
  auto credentials = credentials_of(url);
  if (!credentials) return credentials.error();
  return std::unique_ptr<EtcdClient>(std::make_unique<GrpcClient>(url, std::move(password), *credentials));
}

}  // namespace berth::etcd
