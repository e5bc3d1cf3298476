// Worker: a thread of low priority that calls one function when it is told that there may be something to do. Like
// file.h it is a seam: tests/torture links a worker that takes a step when the test says so, so that a seed replays a
// run.
#pragma once

#include <functional>
#include <memory>

namespace berth::store {

class Worker {
 public:
  // `work` is never called twice at once.
  explicit Worker(std::function<void()> work);
  ~Worker();  // waits for the call under way, and makes no other
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;
  // Any thread, never waits: calls `work` soon; for several wakes perhaps once, but never before the last of them.
  void wake();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace berth::store
