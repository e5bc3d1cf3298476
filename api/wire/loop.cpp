#include "api/wire/loop.h"

#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <unistd.h>

#include "api/wire/loop_impl.h"

namespace berth::wire {

namespace asio = boost::asio;
using boost::system::error_code;

Loop::Loop() : impl_(std::make_unique<Impl>()) {}
Loop::~Loop() = default;

void Loop::run() {
  impl_->io.restart();
  impl_->io.run();
}
void Loop::stop() { impl_->io.stop(); }
void Loop::post(std::function<void()> task) {
  {
    const std::lock_guard lock(impl_->mutex);
    impl_->posted.push_back(std::move(task));
    if (impl_->posted.size() > 1) return;  // the loop has been woken for the first of them
  }
  asio::post(impl_->io, [impl = impl_.get()] {
    {
      const std::lock_guard lock(impl->mutex);
      impl->running.swap(impl->posted);
    }
    for (auto& one : impl->running) one();
    impl->running.clear();
  });
}

// The handles own the Asio object and the callback; what Asio holds is a weak reference, so that a destroyed handle
// never calls, even if its completion was already queued.
class Loop::Timer : public std::enable_shared_from_this<Loop::Timer> {
 public:
  Timer(asio::io_context& io, std::function<void()> task) : timer_(io), task_(std::move(task)) {}
  void start(std::int64_t delay_ms) {
    timer_.expires_after(std::chrono::milliseconds(delay_ms < 0 ? 0 : delay_ms));
    timer_.async_wait([weak = weak_from_this()](const error_code& error) {
      if (error) return;
      if (const auto self = weak.lock()) {
        const auto task = std::move(self->task_);
        task();
      }
    });
  }

 private:
  asio::steady_timer timer_;
  std::function<void()> task_;
};

std::shared_ptr<Loop::Timer> Loop::after_ms(std::int64_t delay_ms, std::function<void()> task) {
  auto timer = std::make_shared<Timer>(impl_->io, std::move(task));
  timer->start(delay_ms);
  return timer;
}

class Loop::Watch : public std::enable_shared_from_this<Loop::Watch> {
 public:
  using What = asio::posix::stream_descriptor::wait_type;
  Watch(asio::io_context& io, int fd, What what, std::function<void()> ready)
      : descriptor_(io), what_(what), ready_(std::move(ready)) {
    // A duplicate, so that closing the handle leaves the caller's descriptor alone.
    error_code ignored;
    descriptor_.assign(::dup(fd), ignored);
  }
  void start() {
    descriptor_.async_wait(what_, [weak = weak_from_this()](const error_code& error) {
      if (error) return;
      if (const auto self = weak.lock()) {
        self->ready_();
        if (self.use_count() > 1) self->start();  // unless the callback dropped the handle
      }
    });
  }

 private:
  asio::posix::stream_descriptor descriptor_;
  const What what_;
  std::function<void()> ready_;
};

std::shared_ptr<Loop::Watch> Loop::watch_readable(int fd, std::function<void()> ready) {
  auto watch = std::make_shared<Watch>(impl_->io, fd, asio::posix::stream_descriptor::wait_read, std::move(ready));
  watch->start();
  return watch;
}

std::shared_ptr<Loop::Watch> Loop::watch_writable(int fd, std::function<void()> ready) {
  auto watch = std::make_shared<Watch>(impl_->io, fd, asio::posix::stream_descriptor::wait_write, std::move(ready));
  watch->start();
  return watch;
}

class Loop::Signals : public std::enable_shared_from_this<Loop::Signals> {
 public:
  Signals(asio::io_context& io, std::function<void(int)> caught) : set_(io), caught_(std::move(caught)) {}
  void add(int signal) {
    error_code ignored;
    set_.add(signal, ignored);
  }
  void start() {
    set_.async_wait([weak = weak_from_this()](const error_code& error, int signal) {
      if (error) return;
      if (const auto self = weak.lock()) {
        self->start();
        self->caught_(signal);
      }
    });
  }

 private:
  asio::signal_set set_;
  std::function<void(int)> caught_;
};

std::shared_ptr<Loop::Signals> Loop::on_signals(std::initializer_list<int> signals, std::function<void(int)> caught) {
  auto set = std::make_shared<Signals>(impl_->io, std::move(caught));
  for (const int signal : signals) set->add(signal);
  set->start();
  return set;
}

}  // namespace berth::wire
