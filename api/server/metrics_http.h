// MetricsHttp: GET /metrics and GET /healthz over plain HTTP/1.1, on a thread of its own, so that nobody else waits for
// who reads them. Heads of requests, time and connections are bounded; who reads slowly is cut off.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "state/result.h"

namespace berth::server {

class MetricsHttp {
 public:
  struct Pages {  // on the thread of this
    std::function<std::string()> metrics;
    std::function<std::string()> trouble;  // "" if all is well
  };
  static constexpr std::size_t kConnectionsMax = 32;  // past it the one that has been idle the longest goes
  static constexpr std::size_t kHeadBytesMax = 8192;
  static constexpr std::int64_t kIdleMs = 60'000;     // between requests
  static constexpr std::int64_t kRequestMs = 10'000;  // to send one, and to take its answer

  static state::Result<std::unique_ptr<MetricsHttp>> listen(const std::string& host, std::uint16_t port, Pages pages);
  ~MetricsHttp();               // after it no page is asked for
  std::string address() const;  // with the real port if 0 was asked for

 private:
  struct Impl;
  explicit MetricsHttp(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace berth::server
