#include "tools/cli/exec_stream.h"

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <unistd.h>

#include "api/wire/exec_window.h"
#include "tools/cli/output.h"
#include "tools/cli/text.h"

namespace berth::tools {

using namespace state;
using Kind = ExecPart::Kind;

namespace {

constexpr std::uint32_t kRowsOtherwise = 24, kColumnsOtherwise = 80;

bool terminal_size(std::uint32_t& rows, std::uint32_t& columns) {
  winsize size{};
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (ioctl(fd, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) continue;
    rows = size.ws_row;
    columns = size.ws_col;
    return true;
  }
  return false;
}

// Standard input as the far terminal's keyboard: every key goes there, Ctrl-C too. As before when this goes.
class RawTerminal {
 public:
  RawTerminal() {
    if (tcgetattr(STDIN_FILENO, &before_) != 0) return;
    termios raw = before_;
    cfmakeraw(&raw);
    changed_ = tcsetattr(STDIN_FILENO, TCSADRAIN, &raw) == 0;
  }
  ~RawTerminal() {
    if (changed_) tcsetattr(STDIN_FILENO, TCSADRAIN, &before_);
  }
  RawTerminal(const RawTerminal&) = delete;
  RawTerminal& operator=(const RawTerminal&) = delete;

 private:
  termios before_{};
  bool changed_ = false;
};

// What would end us with the terminal left raw, and what tells its new size.
class TerminalSignals {
 public:
  TerminalSignals() {
    sigemptyset(&set_);
    for (const int number : {SIGWINCH, SIGTERM, SIGHUP, SIGINT, SIGQUIT}) sigaddset(&set_, number);
    sigprocmask(SIG_BLOCK, &set_, nullptr);
    fd_ = signalfd(-1, &set_, SFD_NONBLOCK | SFD_CLOEXEC);
  }
  ~TerminalSignals() {
    if (fd_ >= 0) close(fd_);
    sigprocmask(SIG_UNBLOCK, &set_, nullptr);
  }
  TerminalSignals(const TerminalSignals&) = delete;
  TerminalSignals& operator=(const TerminalSignals&) = delete;
  int fd() const { return fd_; }
  int take() {  // 0: none
    signalfd_siginfo info{};
    return read(fd_, &info, sizeof info) == sizeof info ? static_cast<int>(info.ssi_signo) : 0;
  }

 private:
  sigset_t set_;
  int fd_ = -1;
};

class CommandWatch {
 public:
  CommandWatch(client::Client& client, ExecRequest request)
      : client_(client), input_(request.input), terminal_(request.terminal), request_(std::move(request)) {}

  // The exit code; an error has not been reported.
  Result<int> run();

 private:
  Status take_messages();
  Status on_part(const ExecPart& part);
  Status show(int fd, const std::string& bytes);
  Status read_input();
  Status on_signal(int number);
  Status send(Kind kind, std::string bytes = {}, std::uint32_t count = 0, std::uint32_t columns = 0) {
    return client_.send(number_, ExecPart{0, kind, std::move(bytes), count, columns});
  }

  client::Client& client_;
  bool input_;
  const bool terminal_;
  ExecRequest request_;
  std::uint64_t number_ = 0;
  bool started_ = false;
  std::optional<int> exit_code_;
  wire::ExecWindow window_;  // of input
  wire::ExecTaken taken_;    // of output
  std::optional<TerminalSignals> signals_;
  std::optional<RawTerminal> raw_;  // goes first
};

Result<int> CommandWatch::run() {
  if (terminal_) signals_.emplace();
  const auto sent = client_.send(ClientRequest(std::move(request_)));
  if (!sent) return sent.error();
  number_ = *sent;
  for (;;) {
    if (Status good = take_messages(); !good) return good.error();
    if (exit_code_) return *exit_code_;
    const bool read = started_ && input_ && window_.room() != 0;
    pollfd ready[3] = {
        {client_.fd(), POLLIN, 0}, {read ? STDIN_FILENO : -1, POLLIN, 0}, {signals_ ? signals_->fd() : -1, POLLIN, 0}};
    if (poll(ready, 3, -1) < 0) continue;
    Status good = Unit{};
    if (ready[1].revents != 0) good = read_input();
    if (good && ready[2].revents != 0) good = on_signal(signals_->take());
    // Why it could not be sent may be in what came before.
    if (!good && !ServerLink::is_lost(good.error())) return good.error();
  }
}

Status CommandWatch::take_messages() {
  while (!exit_code_) {
    auto message = client_.receive(0);
    if (!message) {
      if (message.error().message == "timeout") return Unit{};
      if (!ServerLink::is_lost(message.error())) return message.error();
      return Error{ErrorCode::kUnavailable, "",
                   "the connection to the server was lost (" + message.error().message + "), and the command with it",
                   0};
    }
    if (const auto* reply = std::get_if<ServerReply>(&message->body)) {
      const auto* error = std::get_if<Error>(reply);
      if (error != nullptr && (message->request == number_ || message->request == 0)) return *error;
    } else if (const auto* part = std::get_if<ExecPart>(&message->body); part && message->request == number_) {
      if (Status good = on_part(*part); !good) return good;
    }
  }
  return Unit{};
}

Status CommandWatch::on_part(const ExecPart& part) {
  switch (part.kind) {
    case Kind::kStarted:
      started_ = true;
      if (terminal_ && input_) raw_.emplace();
      return Unit{};
    case Kind::kOutput:
      return show(STDOUT_FILENO, part.bytes);
    case Kind::kError:
      return show(STDERR_FILENO, part.bytes);
    case Kind::kTaken:
      window_.taken(part.count);
      return Unit{};
    case Kind::kEnd:
      raw_.reset();
      exit_code_ = static_cast<int>(part.count);
      if (part.bytes.empty()) return Unit{};
      report(Error{ErrorCode::kUnavailable, "", part.bytes, 0});
      if (*exit_code_ == 0) exit_code_ = kExitRefused;
      return Unit{};
    default:
      return Unit{};
  }
}

Status CommandWatch::show(int fd, const std::string& bytes) {
  const int error = write_all(fd, bytes);
  if (error == EPIPE) {  // as SIGPIPE would have it
    exit_code_ = 128 + SIGPIPE;
    return Unit{};
  }
  if (error != 0) {
    return Error{ErrorCode::kInternal, "", std::string("cannot write the output: ") + std::strerror(error), 0};
  }
  const std::uint32_t taken = taken_.add(bytes.size());
  if (taken == 0) return Unit{};
  const Status sent = send(Kind::kTaken, {}, taken);
  return sent || ServerLink::is_lost(sent.error()) ? Status(Unit{}) : sent;  // receiving finds the end
}

Status CommandWatch::read_input() {
  std::string bytes(std::min<std::size_t>(kExecPartBytes, window_.room()), '\0');
  const ssize_t got = ::read(STDIN_FILENO, bytes.data(), bytes.size());
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return Unit{};
  if (got <= 0) {
    input_ = false;
    return send(Kind::kInputEnd);
  }
  bytes.resize(static_cast<std::size_t>(got));
  window_.send(bytes.size());
  return send(Kind::kInput, std::move(bytes));
}

Status CommandWatch::on_signal(int number) {
  if (number == SIGWINCH) {
    std::uint32_t rows = 0, columns = 0;
    if (!terminal_size(rows, columns)) return Unit{};
    return send(Kind::kSize, {}, rows, columns);
  }
  if (number != 0) exit_code_ = 128 + number;  // and the command goes with the connection
  return Unit{};
}

}  // namespace

void describe_terminal(ExecRequest& request) {
  request.rows = kRowsOtherwise;
  request.columns = kColumnsOtherwise;
  terminal_size(request.rows, request.columns);
  const char* kind = std::getenv("TERM");
  if (kind == nullptr || *kind == 0) return;
  for (const std::string& line : request.env) {
    if (line.starts_with("TERM=")) return;
  }
  request.env.push_back(std::string("TERM=") + kind);
}

int watch_command(ServerLink& link, ExecRequest request) {
  auto code = CommandWatch(link.client(), std::move(request)).run();
  return code ? *code : report(code.error());
}

}  // namespace berth::tools
