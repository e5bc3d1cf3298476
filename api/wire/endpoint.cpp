#include <charconv>

#include "api/wire/connection.h"

namespace berth::wire {

std::string Endpoint::to_string() const {
  if (is_unix) return path;
  const bool v6 = host.find(':') != std::string::npos;
  return (v6 ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

state::Result<Endpoint> parse_endpoint(std::string_view text, std::string_view field) {
  const auto bad = [&] {
    return state::invalid(
        std::string(field),
        "'" + std::string(text) +
            "' is not an address; accepted: a socket's path (/run/berth/berth.sock), HOST:PORT or [IPV6]:PORT");
  };
  Endpoint endpoint;
  if (text.starts_with("unix:") || text.starts_with("/") || text.starts_with("./")) {
    endpoint.path = std::string(text.starts_with("unix:") ? text.substr(5) : text);
    if (endpoint.path.empty()) return bad();
    constexpr std::size_t kSocketPathMax = 107;
    if (endpoint.path.size() > kSocketPathMax) {
      return state::invalid(std::string(field), "the socket's path has " + std::to_string(endpoint.path.size()) +
                                                    " bytes; accepted: at most " + std::to_string(kSocketPathMax));
    }
    return endpoint;
  }
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos || colon == 0) return bad();
  std::string_view host = text.substr(0, colon);
  if (host.front() == '[') {
    if (host.size() < 3 || host.back() != ']') return bad();
    host = host.substr(1, host.size() - 2);
  } else if (host.find(':') != std::string_view::npos) {
    return bad();
  }
  const std::string_view port = text.substr(colon + 1);
  const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), endpoint.port);
  if (error != std::errc{} || end != port.data() + port.size()) return bad();
  endpoint.is_unix = false;
  endpoint.host = std::string(host);
  return endpoint;
}

}  // namespace berth::wire
