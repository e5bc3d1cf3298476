#include "tools/cli/output.h"

#include <cerrno>
#include <csignal>
#include <cstring>
#include <poll.h>
#include <unistd.h>

#include "tools/cli/command.h"

namespace berth::tools {

namespace {
constexpr std::size_t kPieceBytes = 64U << 10;
}

int write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t wrote = ::write(fd, bytes.data(), bytes.size());
    if (wrote >= 0) {
      bytes.remove_prefix(static_cast<std::size_t>(wrote));
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      pollfd ready{fd, POLLOUT, 0};
      poll(&ready, 1, -1);
    } else if (errno != EINTR) {
      return errno;
    }
  }
  return 0;
}

void Output::write(std::string_view text) {
  buffer_ += text;
  if (buffer_.size() >= kPieceBytes) flush();
}

void Output::flush() {
  if (error_ == 0 && !buffer_.empty()) {
    error_ = write_all(STDOUT_FILENO, buffer_);
    if (error_ == EPIPE) {
      std::signal(SIGPIPE, SIG_DFL);
      std::raise(SIGPIPE);
    }
  }
  buffer_.clear();
}

int Output::finish() {
  flush();
  if (error_ == 0) return 0;
  return report(state::Error{state::ErrorCode::kInternal, "",
                             std::string("cannot write the output: ") + std::strerror(error_), 0});
}

}  // namespace berth::tools
