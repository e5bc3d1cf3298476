#include "agent/io/exec_desk.h"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "agent/io/exec_input.h"
#include "agent/io/oci_json.h"
#include "agent/io/pod_file.h"

namespace berth::agent {

using namespace state;
using Kind = ExecPart::Kind;

namespace {

constexpr std::size_t kRunsMax = 1'000;
// Output that waits for the connection: with more no output is read, so that what the server is to hear of pods does
// not wait behind it.
constexpr std::size_t kQueueBytesMax = 1U << 20;
constexpr std::uint32_t kCannotRun = 127;
constexpr char kEndOfInput = 4;              // Ctrl-D, as a terminal takes it
constexpr std::int64_t kLastWordMs = 1'000;  // after its command's end, how long a terminal may take to say so

std::uint32_t exit_code_of(int status) {
  return static_cast<std::uint32_t>(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

std::string pod_words(const PodRef& ref, std::uint32_t index) {
  return "pod " + std::to_string(ref.pod.job.value) + "." + std::to_string(index);
}

void set_size(int fd, std::uint32_t rows, std::uint32_t columns) {
  constexpr std::uint32_t kMost = 0xffff;
  winsize size{};
  size.ws_row = static_cast<unsigned short>(std::min(rows, kMost));
  size.ws_col = static_cast<unsigned short>(std::min(columns, kMost));
  ioctl(fd, TIOCSWINSZ, &size);
}

// A container's command has a terminal of its own behind the one that we hold, and not every runtime hands on a new
// size.
void set_size_inside(const std::string& pid_file, std::uint32_t rows, std::uint32_t columns) {
  constexpr std::size_t kPidBytesMax = 32;
  const auto pid = read_file(pid_file, kPidBytesMax);
  if (!pid || pid->empty() || pid->find_first_not_of("0123456789\n") != std::string::npos) return;
  const std::string name = "/proc/" + pid->substr(0, pid->find('\n')) + "/fd/0";
  // Whatever its user has put there: only a terminal is opened.
  constexpr unsigned kFirstMajor = 136, kLastMajor = 143;  // pseudo-terminals
  const Fd place(open(name.c_str(), O_PATH | O_CLOEXEC));
  struct stat about {};
  const bool is_terminal = place && fstat(place.get(), &about) == 0 && S_ISCHR(about.st_mode) &&
                           major(about.st_rdev) >= kFirstMajor && major(about.st_rdev) <= kLastMajor;
  if (!is_terminal) return;
  const std::string again = "/proc/self/fd/" + std::to_string(place.get());
  const Fd terminal(open(again.c_str(), O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC));
  if (terminal) set_size(terminal.get(), rows, columns);
}

}  // namespace

struct ExecDesk::Output {
  Kind kind = Kind::kOutput;
  Fd fd;
  std::shared_ptr<wire::Loop::Watch> watch;
};

struct ExecDesk::Run {
  PodRef ref;
  bool terminal = false;
  Fd control;  // closed: the shim kills the command
  std::shared_ptr<wire::Loop::Watch> control_watch;
  Output outputs[2];
  wire::ExecWindow window;  // of output
  Fd input;                 // closed: nobody reads what comes
  std::shared_ptr<wire::Loop::Watch> input_watch;
  std::string pending;  // input, of which so much is written:
  std::size_t written = 0;
  bool input_ended = false;
  wire::ExecTaken input_taken;
  bool ended = false;
  std::uint32_t exit_code = 0;
  std::string why;  // it is not the command's own end
  std::shared_ptr<wire::Loop::Timer> last_word;
  std::string process_file, log_file, pid_file;  // containers

  ~Run() {
    if (!process_file.empty()) unlink(process_file.c_str());
    if (!log_file.empty()) unlink(log_file.c_str());
    if (!pid_file.empty()) unlink(pid_file.c_str());
  }
};

ExecDesk::ExecDesk(Parts parts, Handlers handlers) : parts_(parts), handlers_(std::move(handlers)) {}
ExecDesk::~ExecDesk() = default;

void ExecDesk::send(std::uint64_t token, Kind kind, std::string bytes, std::uint32_t count) {
  handlers_.send({token, kind, std::move(bytes), count, 0});
}

// ---- starting -------------------------------------------------------------------------------------------------------
void ExecDesk::on_start(const ExecStart& request) {
  auto run = std::make_unique<Run>();
  std::uint32_t exit_code = 1;
  std::string why = start(*run, request, exit_code);
  if (!why.empty()) return send(request.token, Kind::kEnd, std::move(why), exit_code);
  const std::uint64_t token = request.token;
  run->control_watch = parts_.loop.watch_readable(run->control.get(), [this, token] { read_notice(token); });
  runs_[token] = std::move(run);
}

// "" if its shim runs; else why not.
std::string ExecDesk::start(Run& run, const ExecStart& start, std::uint32_t& exit_code) {
  if (std::string wrong = check_exec(start.request); !wrong.empty()) return wrong;
  if (runs_.size() >= kRunsMax) return "the node runs as many commands as it can";
  if (runs_.contains(start.token)) return "the server gave a token twice";
  run.ref = start.ref;
  run.terminal = start.request.terminal;
  std::string input;
  Fd mounts;
  if (std::string why = prepare(run, start, input, mounts); !why.empty()) return why;
  exit_code = kCannotRun;
  Fd theirs[3];
  if (std::string why = open_streams(run, start.request, !run.process_file.empty(), theirs); !why.empty()) return why;
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) {
    return system_error("make", "a socket", errno).message;
  }
  run.control = Fd(pair[0]);
  const Fd their_control(pair[1]);
  const Fd orders = make_input_file(input);
  if (!orders) return system_error("write", "the command's orders", errno).message;
  std::vector<int> fds{theirs[0].get(), theirs[1].get(), theirs[2].get(), orders.get(), their_control.get()};
  if (mounts) fds.push_back(mounts.get());
  const std::uint64_t id = ++last_shim_;
  auto shim = parts_.launcher.spawn_mode("--exec", fds, [this, id] { shims_.erase(id); });
  if (!shim) return shim.error().message;
  shims_[id] = std::move(*shim);
  return "";
}

// What the shim is to be told, from what the pod's was.
std::string ExecDesk::prepare(Run& run, const ExecStart& start, std::string& input, Fd& mounts) {
  const std::string who = pod_words(start.ref, parts_.core.index_of(start.ref));
  const int shim = parts_.runner.shim_of(start.ref);
  if (parts_.core.phase(start.ref) != NodeCore::Phase::kRunning || shim == 0) return who + " does not run any more";
  const auto pod_input = read_pod_input(parts_.layout.pod(start.ref));
  if (!pod_input) return "what " + who + " was started with cannot be read";
  if (!is_container(*pod_input)) {
    input = command_input(*pod_input, start.request);
    return "";
  }
  const std::string ns = "/proc/" + std::to_string(shim) + "/ns/mnt";
  mounts = Fd(open(ns.c_str(), O_RDONLY | O_CLOEXEC));
  // It has not ended while we looked, so that the number was still its own.
  if (!mounts || kill(shim, 0) != 0 || parts_.runner.shim_of(start.ref) != shim) {
    return who + " does not run any more";
  }
  const std::string bundle = parts_.layout.bundle(start.ref);
  const auto process = command_process(bundle, start.request.argv, start.request.env, start.request.terminal);
  if (!process) return process.error().message;
  const std::string stem = bundle + "/exec-" + std::to_string(start.token);
  if (auto wrote = write_file(stem + ".json", *process); !wrote) return wrote.error().message;
  run.process_file = stem + ".json";
  run.log_file = stem + ".log";
  run.pid_file = stem + ".pid";
  input = runtime_input(*pod_input, runtime_words(*pod_input, {run.process_file, run.log_file, run.pid_file}),
                        run.terminal);
  return "";
}

// `raw`: a terminal that only hands on to another one, the container's.
std::string ExecDesk::open_streams(Run& run, const ExecRequest& request, bool raw, Fd (&theirs)[3]) {
  if (request.terminal) {
    Fd master(posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
    if (!master || grantpt(master.get()) != 0 || unlockpt(master.get()) != 0) {
      return system_error("make", "a terminal", errno).message;
    }
    for (Fd& fd : theirs) fd = Fd(ioctl(master.get(), TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC));
    if (!theirs[0] || !theirs[1] || !theirs[2]) return system_error("make", "a terminal", errno).message;
    termios modes{};
    if (raw && tcgetattr(theirs[0].get(), &modes) == 0) {
      cfmakeraw(&modes);
      tcsetattr(theirs[0].get(), TCSANOW, &modes);
    }
    set_size(master.get(), request.rows, request.columns);
    fcntl(master.get(), F_SETFL, O_NONBLOCK);
    if (request.input) run.input = Fd(fcntl(master.get(), F_DUPFD_CLOEXEC, 0));
    run.outputs[0].fd = std::move(master);
    return "";
  }
  int in[2] = {-1, -1}, out[2] = {-1, -1}, error[2] = {-1, -1};
  bool made = pipe2(out, O_CLOEXEC) == 0;
  run.outputs[0].fd = Fd(out[0]);
  theirs[1] = Fd(out[1]);
  made = made && pipe2(error, O_CLOEXEC) == 0;
  run.outputs[1].fd = Fd(error[0]);
  run.outputs[1].kind = Kind::kError;
  theirs[2] = Fd(error[1]);
  if (request.input) {
    made = made && pipe2(in, O_CLOEXEC) == 0;
    theirs[0] = Fd(in[0]);
    run.input = Fd(in[1]);
    fcntl(in[1], F_SETFL, O_NONBLOCK);
  } else {
    theirs[0] = Fd(open("/dev/null", O_RDONLY | O_CLOEXEC));
  }
  if (!made || !theirs[0]) return system_error("make", "a pipe", errno).message;
  for (const Output& output : run.outputs) fcntl(output.fd.get(), F_SETFL, O_NONBLOCK);
  return "";
}

// ---- what the shim says ---------------------------------------------------------------------------------------------
void ExecDesk::read_notice(std::uint64_t token) {
  const auto at = runs_.find(token);
  if (at == runs_.end()) return;
  Run& run = *at->second;
  char packet[8192];
  const ssize_t got = recv(run.control.get(), packet, sizeof packet, MSG_DONTWAIT);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (got > 0 && packet[0] == shim::kExecStarted) {
    send(token, Kind::kStarted, "");
    return read_outputs(token);
  }
  if (got > 0 && packet[0] == shim::kExecFailed) {
    return finish(token, std::string(packet + 1, static_cast<std::size_t>(got - 1)), kCannotRun);
  }
  int status = 0;
  if (got == static_cast<ssize_t>(1 + sizeof status) && packet[0] == shim::kExecEnded) {
    std::memcpy(&status, packet + 1, sizeof status);
    run.exit_code = exit_code_of(status);
  } else {
    run.exit_code = 128 + SIGKILL;
    if (run.why.empty()) run.why = "the process that watched over the command was killed";
  }
  run.ended = true;
  // We may be inside of its own callback.
  parts_.loop.post([watch = std::move(run.control_watch)] {});
  run.control.reset(-1);
  if (run.terminal) {
    run.last_word = parts_.loop.after_ms(kLastWordMs, [this, token] {
      if (const auto late = runs_.find(token); late != runs_.end()) late->second->outputs[0].fd.reset(-1);
      finish_if_done(token);
    });
  }
  read_outputs(token);
}

// ---- output ---------------------------------------------------------------------------------------------------------
void ExecDesk::read_outputs(std::uint64_t token) {
  const auto at = runs_.find(token);
  if (at == runs_.end()) return;
  for (Output& output : at->second->outputs) read_output(token, output);
  finish_if_done(token);
}

// What is there and may be sent; then waits for more of either.
void ExecDesk::read_output(std::uint64_t token, Output& output) {
  Run& run = *runs_.at(token);
  const bool was_watched = output.watch != nullptr;
  bool may = true;
  for (int parts = 0; output.fd && (parts < 8 || run.ended); ++parts) {
    may = run.window.room() != 0 && handlers_.queued_bytes() < kQueueBytesMax;
    if (!may) break;
    std::string bytes(std::min<std::size_t>(kExecPartBytes, run.window.room()), '\0');
    const ssize_t got = read(output.fd.get(), bytes.data(), bytes.size());
    if (got > 0) {
      bytes.resize(static_cast<std::size_t>(got));
      run.window.send(bytes.size());
      send(token, output.kind, std::move(bytes));
      continue;
    }
    const bool nothing_yet = got < 0 && (errno == EAGAIN || errno == EINTR);
    // A pipe has at once what was written into it; who still holds it was left in the background by the command, and
    // is not waited for. A terminal says itself when its command has ended.
    if (!nothing_yet || (run.ended && !run.terminal)) output.fd.reset(-1);
    if (nothing_yet) break;
  }
  const bool watch = output.fd && may;
  if (watch == was_watched) return;
  if (watch) {
    output.watch = parts_.loop.watch_readable(output.fd.get(), [this, token] { read_outputs(token); });
  } else {
    parts_.loop.post([old = std::move(output.watch)] {});
    output.watch = nullptr;
  }
}

void ExecDesk::finish_if_done(std::uint64_t token) {
  const auto at = runs_.find(token);
  if (at == runs_.end()) return;
  Run& run = *at->second;
  if (!run.ended || run.outputs[0].fd || run.outputs[1].fd) return;
  // The runtime said itself, on the command's standard error, why the command could not be run; its own exit code means
  // nothing.
  struct stat log {};
  const bool failed = run.exit_code != 0 && !run.log_file.empty() && stat(run.log_file.c_str(), &log) == 0;
  if (failed && log.st_size != 0) run.exit_code = kCannotRun;
  std::string why = run.why;
  finish(token, std::move(why), run.exit_code);
}

void ExecDesk::finish(std::uint64_t token, std::string why, std::uint32_t exit_code) {
  const auto at = runs_.find(token);
  if (at == runs_.end()) return;
  // One of its watches may be what calls us.
  parts_.loop.post([run = std::shared_ptr<Run>(std::move(at->second))] {});
  runs_.erase(at);
  send(token, Kind::kEnd, std::move(why), exit_code);
}

// ---- what the watcher says ------------------------------------------------------------------------------------------
void ExecDesk::on_part(ExecPart part) {
  const auto at = runs_.find(part.token);
  if (at == runs_.end()) return;
  Run& run = *at->second;
  switch (part.kind) {
    case Kind::kInput:
      if (run.pending.size() - run.written + part.bytes.size() > kExecWindowBytes) {
        return finish(part.token, "more input came than there is room for", 1);
      }
      run.pending += part.bytes;
      return write_input(part.token);
    case Kind::kInputEnd:
      run.input_ended = true;
      return write_input(part.token);
    case Kind::kTaken:
      if (!run.window.taken(part.count)) return finish(part.token, "more was taken than was sent", 1);
      return read_outputs(part.token);
    case Kind::kSize:
      if (run.terminal && run.outputs[0].fd) set_size(run.outputs[0].fd.get(), part.count, part.columns);
      if (run.terminal && !run.pid_file.empty()) set_size_inside(run.pid_file, part.count, part.columns);
      return;
    case Kind::kEnd:
      parts_.loop.post([gone = std::shared_ptr<Run>(std::move(at->second))] {});
      runs_.erase(at);
      return;
    default:
      return;
  }
}

void ExecDesk::write_input(std::uint64_t token) {
  const auto at = runs_.find(token);
  if (at == runs_.end()) return;
  Run& run = *at->second;
  bool full = false;
  std::size_t done = 0;
  while (run.written < run.pending.size() && !full) {
    const std::size_t left = run.pending.size() - run.written;
    const ssize_t wrote = run.input ? write(run.input.get(), run.pending.data() + run.written, left) : -1;
    if (wrote < 0 && run.input && errno == EINTR) continue;
    full = wrote < 0 && run.input && errno == EAGAIN;
    if (full) break;
    // Nobody reads any more: what still comes is dropped, as a pipe's writer would be told.
    if (wrote < 0) run.input.reset(-1);
    const std::size_t gone = wrote < 0 ? left : static_cast<std::size_t>(wrote);
    run.written += gone;
    done += gone;
  }
  if (run.written == run.pending.size() || run.written > kExecPartBytes) {
    run.pending.erase(0, run.written);
    run.written = 0;
  }
  if (const std::uint32_t taken = run.input_taken.add(done); taken != 0) send(token, Kind::kTaken, "", taken);
  if (full && run.input_watch == nullptr) {
    run.input_watch = parts_.loop.watch_writable(run.input.get(), [this, token] { write_input(token); });
  } else if (!full && run.input_watch != nullptr) {
    parts_.loop.post([old = std::move(run.input_watch)] {});
    run.input_watch = nullptr;
  }
  if (!run.input_ended || !run.pending.empty() || !run.input) return;
  if (run.terminal) [[maybe_unused]]
    const ssize_t told = write(run.input.get(), &kEndOfInput, 1);
  run.input.reset(-1);
}

void ExecDesk::on_drained() {
  std::vector<std::uint64_t> tokens;
  for (const auto& [token, run] : runs_) tokens.push_back(token);
  for (const std::uint64_t token : tokens) read_outputs(token);
}

void ExecDesk::on_pod_over(const PodRef& ref) {
  for (const auto& [token, run] : runs_) {
    if (run->ref != ref || run->ended) continue;
    run->why = "the pod has ended";
    // Its groups were cleared, and the command with them; where there are none, the shim does it now.
    if (run->control) shutdown(run->control.get(), SHUT_WR);
  }
}

void ExecDesk::clear() {
  for (auto& [token, run] : runs_) parts_.loop.post([gone = std::shared_ptr<Run>(std::move(run))] {});
  runs_.clear();
}

}  // namespace berth::agent
