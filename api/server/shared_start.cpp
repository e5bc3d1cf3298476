#include "api/server/shared_start.h"

#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <fcntl.h>
#include <fstream>
#include <spdlog/spdlog.h>
#include <sys/file.h>
#include <thread>
#include <unistd.h>

#include "api/wire/tls.h"

namespace berth::server {

using state::Error;
using state::ErrorCode;
using state::Result;
using state::Status;
using state::Unit;

namespace {

constexpr std::size_t kIdBytes = 8;

// The descriptor stays open until the process ends; run() may be called again in it.
Status lock_directory(const std::string& directory) {
  static std::string locked;
  if (locked == directory) return Unit{};
  const std::string path = directory + "/lock";
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) return Error{ErrorCode::kInternal, "", "cannot open " + path + ": " + std::strerror(errno), 0};
  if (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
    ::close(fd);
    return Error{ErrorCode::kConflict, "", "the data directory " + directory + " is in use by another process", 0};
  }
  locked = directory;
  return Unit{};
}

Result<std::string> read_or_make_id(const std::string& directory) {
  const std::string path = directory + "/server-id";
  std::string id;
  if (std::ifstream file(path); file >> id && id.size() == 2 * kIdBytes) return id;
  id = wire::random_hex(kIdBytes);
  std::ofstream file(path);
  file << id << "\n";
  file.close();
  if (!file) return Error{ErrorCode::kInternal, "", "cannot write " + path + ": " + std::strerror(errno), 0};
  return id;
}

// "": the store is new. Waits for a store that does not answer yet: machines start in any order.
Result<std::string> ask_for_authority(store::SharedStore& store) {
  bool told = false;
  while (true) {
    auto answer = store.authority();
    if (answer || answer.error().code != ErrorCode::kUnavailable) return answer;
    if (!told) spdlog::warn("the store does not answer yet: {}; trying on", answer.error().message);
    told = true;
    std::this_thread::sleep_for(std::chrono::milliseconds(500));
  }
}

}  // namespace

Result<store::SharedMember> prepare_member(const std::string& data_directory, store::SharedStore& store) {
  if (Status locked = lock_directory(data_directory); !locked) return locked.error();
  const auto authority = ask_for_authority(store);
  if (!authority) return authority.error();
  const std::string own = data_directory + "/authority";
  if (!authority->empty() && ::access((own + "/authority.key").c_str(), F_OK) != 0) {
    return Error{ErrorCode::kConflict, "",
                 "the cluster has a certificate authority (" + authority->substr(0, 16) + "...) and " + own +
                     " is not there; copy that directory from a server of the cluster",
                 0};
  }
  store::SharedMember me;
  auto id = read_or_make_id(data_directory);
  if (!id) return id.error();
  me.id = std::move(*id);
  std::array<char, 256> host{};
  ::gethostname(host.data(), host.size() - 1);
  me.name = host.data();
  return me;
}

}  // namespace berth::server
