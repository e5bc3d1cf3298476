#include "state/etcd/etcd_url.h"

#include <algorithm>
#include <charconv>
#include <optional>

namespace berth::etcd {

using state::Error;
using state::Result;

namespace {

constexpr std::string_view kScheme = "etcd://";
constexpr std::size_t kHostsMax = 32;
constexpr std::size_t kPrefixBytesMax = 200;

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// %41 is A.
std::optional<std::string> unescaped(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out += text[i];
      continue;
    }
    if (i + 2 >= text.size()) return std::nullopt;
    const int high = hex_digit(text[i + 1]), low = hex_digit(text[i + 2]);
    if (high < 0 || low < 0 || (high == 0 && low == 0)) return std::nullopt;
    out += static_cast<char>(high * 16 + low);
    i += 2;
  }
  return out;
}

std::optional<EtcdUrl::Host> parse_host(std::string_view text) {
  EtcdUrl::Host host;
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos || colon == 0) return std::nullopt;
  std::string_view name = text.substr(0, colon);
  if (name.front() == '[') {
    if (name.size() < 3 || name.back() != ']') return std::nullopt;
    name = name.substr(1, name.size() - 2);
  } else if (name.find_first_of(":]") != std::string_view::npos) {
    return std::nullopt;
  }
  const std::string_view port = text.substr(colon + 1);
  const auto [end, wrong] = std::from_chars(port.data(), port.data() + port.size(), host.port);
  if (wrong != std::errc{} || end != port.data() + port.size() || host.port == 0) return std::nullopt;
  host.name = std::string(name);
  return host;
}

bool is_prefix(std::string_view text) {
  const auto plain = [](unsigned char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
           c == '-' || c == '/';
  };
  return !text.empty() && text.size() <= kPrefixBytesMax && std::all_of(text.begin(), text.end(), plain) &&
         text.front() != '/' && text.back() != '/' && text.find("//") == std::string_view::npos;
}

struct Parser {
  EtcdUrl url;
  const std::string& field;
  bool secret = false;

  Error bad(const std::string& what) const {
    return state::invalid(field, what +
                                     "; accepted: etcd://[USER[:PASSWORD]@]HOST:PORT[,HOST:PORT...][/PREFIX], with "
                                     "?ca=FILE&cert=FILE&key=FILE&password-file=FILE behind it as needed");
  }

  state::Status hosts(std::string_view list) {
    while (true) {
      const std::size_t comma = list.find(',');
      const std::string_view one = list.substr(0, comma);
      auto host = parse_host(one);
      // Where there is a password, what we take for a host may be a part of it.
      if (!host && secret) return bad("a member is not HOST:PORT (in a password, write @ as %40 and / as %2F)");
      if (!host) return bad("'" + std::string(one.substr(0, 256)) + "' is not HOST:PORT");
      url.hosts.push_back(std::move(*host));
      if (url.hosts.size() > kHostsMax) return bad("more than " + std::to_string(kHostsMax) + " members");
      if (comma == std::string_view::npos) return state::Unit{};
      list.remove_prefix(comma + 1);
    }
  }

  state::Status user(std::string_view text) {
    const std::size_t colon = text.find(':');
    const auto name = unescaped(text.substr(0, colon));
    if (!name || name->empty()) return bad("the user's name is not well formed");
    url.user = *name;
    if (colon == std::string_view::npos) return state::Unit{};
    const auto password = unescaped(text.substr(colon + 1));
    if (!password) return bad("the password is not well formed (%XX stands for a byte)");
    url.password = *password;
    return state::Unit{};
  }

  state::Status settings(std::string_view text) {
    while (!text.empty()) {
      const std::size_t and_sign = text.find('&');
      const std::string_view one = text.substr(0, and_sign);
      const std::size_t equals = one.find('=');
      const std::string_view name = one.substr(0, equals);
      std::string* where = name == "ca"              ? &url.ca
                           : name == "cert"          ? &url.cert
                           : name == "key"           ? &url.key
                           : name == "password-file" ? &url.password_file
                                                     : nullptr;
      if (where == nullptr) return bad("unknown setting '" + std::string(name.substr(0, 64)) + "'");
      const auto value = equals == std::string_view::npos ? std::nullopt : unescaped(one.substr(equals + 1));
      if (!value || value->empty()) return bad("'" + std::string(name) + "' has no value");
      if (!where->empty()) return bad("'" + std::string(name) + "' is set twice");
      *where = *value;
      if (and_sign == std::string_view::npos) break;
      text.remove_prefix(and_sign + 1);
    }
    return state::Unit{};
  }

  state::Status check() const {
    if (url.cert.empty() != url.key.empty()) return bad("cert and key belong together");
    if (!url.cert.empty() && url.ca.empty()) return bad("cert and key without ca");
    if (!url.password_file.empty() && url.user.empty()) return bad("a password-file without a user");
    if (!url.password_file.empty() && !url.password.empty()) return bad("a password and a password-file");
    if (!url.user.empty() && url.password.empty() && url.password_file.empty()) return bad("a user without a password");
    return state::Unit{};
  }
};

}  // namespace

std::string EtcdUrl::Host::to_string() const {
  const bool v6 = name.find(':') != std::string::npos;
  return (v6 ? "[" + name + "]" : name) + ":" + std::to_string(port);
}

std::string EtcdUrl::to_string() const {
  std::string text(kScheme);
  for (const Host& host : hosts) text += (&host == hosts.data() ? "" : ",") + host.to_string();
  return text + "/" + prefix;
}

bool is_etcd_url(std::string_view text) { return text.starts_with(kScheme); }

Result<EtcdUrl> parse_etcd_url(std::string_view text, const std::string& field) {
  Parser parser{{}, field};
  if (!is_etcd_url(text)) return parser.bad("'" + std::string(text.substr(0, 64)) + "' does not begin with etcd://");
  text.remove_prefix(kScheme.size());
  parser.secret = text.find('@') != std::string_view::npos;
  std::string_view settings;
  if (const std::size_t mark = text.find('?'); mark != std::string_view::npos) {
    settings = text.substr(mark + 1);
    text = text.substr(0, mark);
  }
  // A password may hold an @ or a slash as %40 and %2F alone, so the last @ before the first slash ends it.
  const std::string_view authority = text.substr(0, text.find('/'));
  const std::size_t at = authority.rfind('@');
  if (at != std::string_view::npos) {
    if (auto good = parser.user(authority.substr(0, at)); !good) return good.error();
  }
  if (auto good = parser.hosts(authority.substr(at == std::string_view::npos ? 0 : at + 1)); !good) return good.error();
  if (text.size() > authority.size() + 1) {
    const std::string_view prefix = text.substr(authority.size() + 1);
    if (!is_prefix(prefix)) {
      return parser.bad("'" + std::string(prefix.substr(0, 64)) + "' is not a prefix (A-Z a-z 0-9 . _ - /)");
    }
    parser.url.prefix = std::string(prefix);
  }
  if (auto good = parser.settings(settings); !good) return good.error();
  if (auto good = parser.check(); !good) return good.error();
  return std::move(parser.url);
}

}  // namespace berth::etcd
