// EtcdUrl: where the journal's etcd is, and what it takes to speak to it:
//
//   etcd://[USER[:PASSWORD]@]HOST:PORT[,HOST:PORT…][/PREFIX][?ca=FILE&cert=FILE&key=FILE&password-file=FILE]
//
// TLS is used where `ca` is given (`ca=system`: the authorities of the machine). Pure; files are read by the client.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "state/result.h"

namespace berth::etcd {

struct EtcdUrl {
  struct Host {
    std::string name;  // without the brackets of an IPv6 address
    std::uint16_t port = 0;
    std::string to_string() const;
  };
  std::vector<Host> hosts;
  std::string prefix = "berth";  // of all keys, without a slash at either end
  std::string user, password, password_file;
  std::string ca, cert, key;

  bool tls() const { return !ca.empty(); }
  std::string to_string() const;  // for people: without the password
};

bool is_etcd_url(std::string_view text);
// Errors name the field and what is accepted, and never echo a password.
state::Result<EtcdUrl> parse_etcd_url(std::string_view text, const std::string& field);

}  // namespace berth::etcd
