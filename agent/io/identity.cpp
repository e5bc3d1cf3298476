#include "agent/io/identity.h"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include "api/wire/enrol.h"
#include "api/wire/servers.h"

namespace berth::agent {

using state::Error;
using state::ErrorCode;
using state::Result;
using state::Status;

namespace {

constexpr std::int64_t kEnrolTimeoutMs = 20'000;
constexpr std::size_t kSmallFile = 64U << 10;

std::string read_line(const std::string& path) {
  auto text = read_file(path, kSmallFile);
  if (!text) return "";
  while (!text->empty() && (text->back() == '\n' || text->back() == ' ')) text->pop_back();
  return *text;
}

bool is_node_name(std::string_view name) {
  if (name.empty() || name.size() > state::kMaxNameBytes) return false;
  for (const char c : name) {
    const bool plain =
        (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
    if (!plain) return false;
  }
  return true;
}

Result<std::shared_ptr<wire::TlsContext>> open_certificate(const Layout& layout) {
  const auto key = read_file(layout.file("node.key"), kSmallFile);
  if (!key) return key.error();
  const auto certificate = read_file(layout.file("node.crt"), kSmallFile);
  if (!certificate) return certificate.error();
  const auto authority = read_file(layout.file("authority.crt"), kSmallFile);
  if (!authority) return authority.error();
  return wire::client_tls(*authority, *certificate, *key);
}

Status join(const Layout& layout, const AgentOptions& options, const std::string& server, const std::string& name) {
  if (options.token.empty()) {
    return state::invalid(
        "--token", "--token: the first start of a node needs a token (`berth token create` on the server prints one)");
  }
  auto enrolment = wire::enrol(server, options.token, name, kEnrolTimeoutMs);
  if (!enrolment) return enrolment.error();
  // The certificate last: with it, all three are there.
  if (auto wrote = write_file_aside(layout.file("node.key"), enrolment->key_pem, 0600, true); !wrote) return wrote;
  if (auto wrote = write_file_aside(layout.file("authority.crt"), enrolment->authority_pem, 0600, true); !wrote)
    return wrote;
  return write_file_aside(layout.file("node.crt"), enrolment->certificate_pem, 0600, true);
}

}  // namespace

std::string host_name() {
  char text[256] = {};
  if (gethostname(text, sizeof text - 1) != 0) return "";
  return text;
}

Result<Fd> lock_data_directory(const Layout& layout) {
  const std::string path = layout.file("agent.lock");
  Fd lock(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!lock) return system_error("open", path, errno);
  // An agent that was killed while it started a shim leaves its descriptors to that for the moment until exec closes
  // them.
  bool locked = false;
  for (int round = 0; round < 100 && !locked; ++round) {
    if (round != 0) usleep(10'000);
    locked = flock(lock.get(), LOCK_EX | LOCK_NB) == 0;
  }
  if (!locked) {
    return Error{ErrorCode::kConflict, "--data",
                 "another agent (process " + read_line(path) + ") uses the data directory '" + layout.root() + "'", 0};
  }
  const std::string pid = std::to_string(getpid()) + "\n";
  if (ftruncate(lock.get(), 0) != 0 || pwrite(lock.get(), pid.data(), pid.size(), 0) < 0)
    return system_error("write", path, errno);
  return lock;
}

Result<Identity> open_identity(const Layout& layout, const AgentOptions& options) {
  Identity identity;
  identity.instance = read_line(layout.file("instance"));
  if (identity.instance.size() != 32) {
    identity.instance = wire::random_hex(16);
    auto wrote = write_file_aside(layout.file("instance"), identity.instance + "\n", 0644, true);
    if (!wrote) return wrote.error();
  }
  const std::string old_name = read_line(layout.file("name"));
  identity.name = !options.node_name.empty() ? options.node_name : !old_name.empty() ? old_name : host_name();
  if (!is_node_name(identity.name)) {
    return state::invalid("--name",
                          "--name: '" + identity.name + "' is not 1 to 255 of the characters A-Z a-z 0-9 . _ -");
  }
  const std::string server = !options.server.empty() ? options.server : read_line(layout.file("server"));
  if (server.empty()) return state::invalid("--join", "--join: the first start of a node needs the server's HOST:PORT");
  auto servers = wire::parse_endpoints(server, "--join");
  if (!servers) return servers.error();
  identity.servers = std::move(*servers);
  const auto is_unix = [](const wire::Endpoint& endpoint) { return endpoint.is_unix; };
  if (!std::all_of(identity.servers.begin(), identity.servers.end(), is_unix)) {
    const bool joined = access(layout.file("node.crt").c_str(), F_OK) == 0;
    if (joined && !old_name.empty() && old_name != identity.name) {
      return Error{ErrorCode::kConflict, "--name",
                   "--name: the data directory '" + layout.root() + "' belongs to node '" + old_name + "', not '" +
                       identity.name + "'",
                   0};
    }
    if (!joined) {
      if (auto done = join(layout, options, server, identity.name); !done) return done.error();
    }
    auto tls = open_certificate(layout);
    if (!tls) return tls.error();
    identity.tls = std::move(*tls);
  }
  if (auto wrote = write_file_aside(layout.file("name"), identity.name + "\n", 0644); !wrote) return wrote.error();
  if (auto wrote = write_file_aside(layout.file("server"), server + "\n", 0644); !wrote) return wrote.error();
  return identity;
}

bool same_boot(const Layout& layout) {
  const std::string now = read_line("/proc/sys/kernel/random/boot_id");
  const bool same = read_line(layout.file("boot")) == now;
  if (!same) (void)write_file_aside(layout.file("boot"), now + "\n", 0644, true);
  return same;
}

}  // namespace berth::agent
