#include "state/store/worker.h"

#include <condition_variable>
#include <mutex>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <thread>
#include <unistd.h>

namespace berth::store {

struct Worker::Impl {
  std::function<void()> work;
  std::mutex mutex;
  std::condition_variable changed;
  bool woken = false;
  bool stopping = false;
  std::thread thread;

  void run() {
    // On Linux the niceness belongs to the thread: whatever the machine is busy with comes first.
    ::setpriority(PRIO_PROCESS, static_cast<id_t>(::syscall(SYS_gettid)), 10);
    std::unique_lock lock(mutex);
    while (true) {
      changed.wait(lock, [this] { return woken || stopping; });
      if (stopping) return;
      woken = false;
      lock.unlock();
      work();
      lock.lock();
    }
  }
};

Worker::Worker(std::function<void()> work) : impl_(std::make_unique<Impl>()) {
  impl_->work = std::move(work);
  impl_->thread = std::thread([impl = impl_.get()] { impl->run(); });
}

Worker::~Worker() {
  {
    const std::lock_guard lock(impl_->mutex);
    impl_->stopping = true;
  }
  impl_->changed.notify_all();
  impl_->thread.join();
}

void Worker::wake() {
  {
    const std::lock_guard lock(impl_->mutex);
    impl_->woken = true;
  }
  impl_->changed.notify_all();
}

}  // namespace berth::store
