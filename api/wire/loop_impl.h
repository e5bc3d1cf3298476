// The inside of Loop, for the few files that compile Asio.
#pragma once

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <functional>
#include <mutex>
#include <vector>

#include "api/wire/loop.h"

namespace berth::wire {

struct Loop::Impl {
  boost::asio::io_context io{1};
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work{io.get_executor()};
  // Posted tasks wait here, so that a burst of them wakes the loop once.
  std::mutex mutex;
  std::vector<std::function<void()>> posted;  // under the mutex
  std::vector<std::function<void()>> running;
};

}  // namespace berth::wire
