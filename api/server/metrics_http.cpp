// The only file that compiles Beast.
#include "api/server/metrics_http.h"

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/beast/http/write.hpp>
#include <list>
#include <optional>
#include <pthread.h>
#include <thread>

#include "api/wire/connection.h"

namespace berth::server {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using asio::ip::tcp;
using boost::system::error_code;

namespace {

class HttpSession;
using Sessions = std::list<std::shared_ptr<HttpSession>>;  // the last one that a request came from is the last

// One connection: a request, its answer, the next. In the list as long as it is open.
class HttpSession : public std::enable_shared_from_this<HttpSession> {
 public:
  HttpSession(tcp::socket socket, const MetricsHttp::Pages& pages, Sessions& all)
      : stream_(std::move(socket)), buffer_(MetricsHttp::kHeadBytesMax), pages_(pages), all_(all) {}

  void start() {
    at_ = all_.insert(all_.end(), shared_from_this());
    read();
  }
  bool answering() const { return answer_.has_value(); }
  void close() {
    if (closed_) return;
    closed_ = true;
    error_code ignored;
    stream_.socket().shutdown(tcp::socket::shutdown_both, ignored);
    stream_.close();
    all_.erase(at_);  // may be the last reference but the caller's
  }

 private:
  void read() {
    parser_.emplace();
    parser_->header_limit(MetricsHttp::kHeadBytesMax);
    parser_->body_limit(0);
    // Waiting for a request is one thing, and waiting for the rest of it another.
    stream_.expires_after(
        std::chrono::milliseconds(buffer_.size() == 0 ? MetricsHttp::kIdleMs : MetricsHttp::kRequestMs));
    http::async_read_some(stream_, buffer_, *parser_,
                          [self = shared_from_this()](const error_code& error, std::size_t) { self->on_some(error); });
  }

  void on_some(const error_code& error) {
    if (closed_) return;
    if (!error && !parser_->is_done()) {
      stream_.expires_after(std::chrono::milliseconds(MetricsHttp::kRequestMs));
      return http::async_read(
          stream_, buffer_, *parser_,
          [self = shared_from_this()](const error_code& wrong, std::size_t) { self->on_request(wrong); });
    }
    on_request(error);
  }

  void on_request(const error_code& error) {
    if (closed_) return;
    // Whoever does not speak HTTP, or too much of it, is told so where there is something to tell.
    if (error == http::error::header_limit || error == http::error::body_limit ||
        error == http::error::buffer_overflow) {
      return respond(http::status::request_header_fields_too_large, "the request is too long\n", false);
    }
    if (error && error.category() == http::make_error_code(http::error::bad_version).category() &&
        error != http::error::end_of_stream && error != http::error::partial_message) {
      return respond(http::status::bad_request, "this is not a request of HTTP\n", false);
    }
    if (error) return close();
    all_.splice(all_.end(), all_, at_);
    const auto& request = parser_->get();
    const bool keep = request.keep_alive();
    const std::string_view target(request.target().data(), request.target().size());
    const std::string_view path = target.substr(0, target.find('?'));
    if (path != "/metrics" && path != "/healthz") {
      return respond(http::status::not_found, "there are /metrics and /healthz\n", keep);
    }
    if (request.method() != http::verb::get) {
      return respond(http::status::method_not_allowed, "GET is all there is\n", keep);
    }
    if (path == "/metrics") return respond(http::status::ok, pages_.metrics(), keep);
    const std::string trouble = pages_.trouble();
    if (trouble.empty()) return respond(http::status::ok, "ok\n", keep);
    respond(http::status::service_unavailable, trouble + "\n", keep);
  }

  void respond(http::status status, std::string body, bool keep_alive) {
    answer_.emplace(status, 11);
    answer_->set(http::field::content_type,
                 status == http::status::ok ? "text/plain; version=0.0.4; charset=utf-8" : "text/plain; charset=utf-8");
    if (status == http::status::method_not_allowed) answer_->set(http::field::allow, "GET");
    answer_->keep_alive(keep_alive);
    answer_->body() = std::move(body);
    answer_->prepare_payload();
    stream_.expires_after(std::chrono::milliseconds(MetricsHttp::kRequestMs));
    http::async_write(stream_, *answer_, [self = shared_from_this()](const error_code& error, std::size_t) {
      if (self->closed_) return;
      const bool last = self->answer_->need_eof();
      self->answer_.reset();
      if (error || last) return self->close();
      self->read();
    });
  }

  beast::tcp_stream stream_;
  beast::flat_buffer buffer_;
  const MetricsHttp::Pages& pages_;
  Sessions& all_;
  Sessions::iterator at_;
  std::optional<http::request_parser<http::empty_body>> parser_;
  std::optional<http::response<http::string_body>> answer_;
  bool closed_ = false;
};

}  // namespace

struct MetricsHttp::Impl {
  Pages pages;
  Sessions sessions;
  asio::io_context io{1};
  tcp::acceptor acceptor{io};
  asio::steady_timer retry{io};
  std::thread thread;

  void accept() {
    acceptor.async_accept([this](const error_code& error, tcp::socket socket) {
      if (!acceptor.is_open()) return;
      if (error) {  // no descriptor is left: later
        retry.expires_after(std::chrono::milliseconds(100));
        return retry.async_wait([this](const error_code& stopped) {
          if (!stopped) accept();
        });
      }
      take(std::move(socket));
      accept();
    });
  }
  void take(tcp::socket socket) {
    if (sessions.size() >= kConnectionsMax) {
      const auto idle = std::find_if(sessions.begin(), sessions.end(), [](const auto& s) { return !s->answering(); });
      const std::shared_ptr<HttpSession> goes = idle == sessions.end() ? sessions.front() : *idle;
      goes->close();
    }
    std::make_shared<HttpSession>(std::move(socket), pages, sessions)->start();
  }
};

MetricsHttp::MetricsHttp(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

state::Result<std::unique_ptr<MetricsHttp>> MetricsHttp::listen(const std::string& host, std::uint16_t port,
                                                                Pages pages) {
  auto impl = std::make_unique<Impl>();
  impl->pages = std::move(pages);
  error_code error;
  const auto found = tcp::resolver(impl->io).resolve(host, std::to_string(port), tcp::resolver::passive, error);
  if (!error && found.empty()) error = asio::error::host_not_found;
  tcp::acceptor& acceptor = impl->acceptor;
  if (!error) acceptor.open(found.begin()->endpoint().protocol(), error);
  if (!error) acceptor.set_option(tcp::acceptor::reuse_address(true), error);
  if (!error) acceptor.bind(found.begin()->endpoint(), error);
  if (!error) acceptor.listen(kConnectionsMax, error);
  if (error) {
    return state::Error{
        state::ErrorCode::kUnavailable, "metrics",
        "cannot listen for metrics on " + wire::Endpoint{false, "", host, port}.to_string() + ": " + error.message(),
        0};
  }
  impl->accept();
  Impl* const running = impl.get();
  impl->thread = std::thread([running] { running->io.run(); });
  pthread_setname_np(impl->thread.native_handle(), "berth-metrics");
  return std::unique_ptr<MetricsHttp>(new MetricsHttp(std::move(impl)));
}

MetricsHttp::~MetricsHttp() {
  impl_->io.stop();
  impl_->thread.join();
  impl_->sessions.clear();
}

std::string MetricsHttp::address() const {
  error_code ignored;
  const auto at = impl_->acceptor.local_endpoint(ignored);
  return wire::Endpoint{false, "", at.address().to_string(), at.port()}.to_string();
}

}  // namespace berth::server
