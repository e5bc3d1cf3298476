#include "agent/net/prober.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/core/service_rules.h"
#include "state/units.h"

namespace berth::agent {

using namespace state;

namespace {

constexpr std::size_t kCommandsMax = 8;  // each is a few processes for some milliseconds
constexpr std::size_t kTalksMax = 128;
constexpr std::size_t kReplyMax = 64U << 10;

std::string host_of(const AskPod& question) { return question.address.empty() ? "127.0.0.1" : question.address; }

std::string words_of(const AskPod& question) {
  const Probe& probe = question.probe;
  const std::string at = host_of(question) + ":" + std::to_string(probe.port);
  if (probe.kind == Probe::Kind::kHttp) return "GET http://" + at + probe.path;
  if (probe.kind == Probe::Kind::kTcp) return "connect to " + at;
  std::string words;
  for (const std::string& word : probe.argv) words += (words.empty() ? "" : " ") + word;
  if (words.size() > 80) words = words.substr(0, 77) + "...";
  std::replace_if(
      words.begin(), words.end(), [](unsigned char c) { return c < ' ' || c == 127; }, ' ');
  return "'" + words + "'";
}

// "HTTP/1.1 204 …": 204; 0 if it is not whole yet; -1 if it is none.
int status_of(const std::string& reply) {
  const std::size_t end = reply.find('\n');
  if (end == std::string::npos) return reply.size() > 256 ? -1 : 0;
  const std::size_t space = reply.find(' ');
  int status = -1;
  if (!reply.starts_with("HTTP/1.") || space > end) return -1;
  const auto read = std::from_chars(reply.data() + space + 1, reply.data() + end, status);
  return read.ec == std::errc() && status >= 100 && status <= 999 ? status : -1;
}

std::string error_words(int error) {
  std::string text = std::strerror(error);
  if (!text.empty() && text[0] >= 'A' && text[0] <= 'Z') text[0] = static_cast<char>(text[0] - 'A' + 'a');
  return text;
}

}  // namespace

Prober::Prober(wire::Loop& loop, Commands& commands, InPod in_pod, Answered answered)
    : loop_(loop), commands_(commands), in_pod_(std::move(in_pod)), answered_(std::move(answered)) {}

Prober::~Prober() { *alive_ = false; }

void Prober::ask(AskPod question) {
  waiting_.push_back(std::move(question));
  if (waiting_.size() == 1) {
    loop_.post([this, alive = alive_] {
      if (*alive) pump();
    });
  }
}

void Prober::pump() {
  std::deque<AskPod> later;
  while (!waiting_.empty()) {
    AskPod next = std::move(waiting_.front());
    waiting_.pop_front();
    const bool command = next.probe.kind == Probe::Kind::kCommand;
    if (command ? commands_running_ >= kCommandsMax : talking_ >= kTalksMax) {
      later.push_back(std::move(next));
    } else if (command) {
      run_command(std::move(next));
    } else {
      connect(std::move(next));
    }
  }
  waiting_ = std::move(later);
}

void Prober::run_command(AskPod question) {
  const std::string name = words_of(question);
  const PodRef ref = question.ref;
  const ProbeRole role = question.role;
  auto command = in_pod_(ref, question.probe.argv);
  if (!command) {
    loop_.post([this, alive = alive_, ref, role, why = name + ": " + command.error().message] {
      if (*alive) answered_(ref, role, {false, why});
    });
    return;
  }
  command->timeout_ms = question.probe.timeout_ms;
  command->output_bytes_max = 4096;
  ++commands_running_;
  commands_.run(std::move(*command),
                [this, alive = alive_, ref, role, name, timeout_ms = question.probe.timeout_ms](CommandEnd end) {
                  if (!*alive) return;
                  --commands_running_;
                  std::string what = end.why();
                  if (end.failure.empty() && end.timed_out) what = "no end within " + format_duration_ms(timeout_ms);
                  if (end.failure.empty() && !end.timed_out && WIFEXITED(end.status)) {
                    const std::string code = "exit code " + std::to_string(WEXITSTATUS(end.status));
                    what = what == code ? code : code + ", " + what;
                  }
                  answered_(ref, role, {end.good(), end.good() ? "" : name + ": " + what});
                  pump();
                });
}

void Prober::connect(AskPod question) {
  if (!epoll_) {
    epoll_ = Fd(epoll_create1(EPOLL_CLOEXEC));
    watch_ = loop_.watch_readable(epoll_.get(), [this] { on_sockets(); });
  }
  auto talk = std::make_unique<Talk>();
  talk->question = std::move(question);
  const std::string host = host_of(talk->question);
  const Probe& probe = talk->question.probe;
  std::uint32_t number = 0;
  int error = 0;
  talk->socket = Fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!talk->socket) {
    error = errno;
  } else if (!parse_ipv4(host, number)) {
    error = EINVAL;
  } else {
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(probe.port);
    to.sin_addr.s_addr = htonl(number);
    if (::connect(talk->socket.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0 && errno != EINPROGRESS) {
      error = errno;
    }
  }
  if (probe.kind == Probe::Kind::kHttp) {
    talk->request = "GET " + probe.path + " HTTP/1.1\r\nHost: " + host + ":" + std::to_string(probe.port) +
                    "\r\nUser-Agent: berth-probe\r\nAccept: */*\r\nConnection: close\r\n\r\n";
  }
  ++talking_;
  const std::uint64_t id = next_id_++;
  talk->timer = loop_.after_ms(error != 0 ? 0 : probe.timeout_ms, [this, id, error] {
    const auto at = talks_.find(id);
    if (at == talks_.end()) return;
    Talk& late = *at->second;
    const std::string limit = " within " + format_duration_ms(late.question.probe.timeout_ms);
    answer(late, false, error != 0 ? error_words(error) : (late.connected ? "no answer" : "no connection") + limit);
    drop(id);
  });
  if (error == 0) {
    epoll_event event{};
    event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP;
    event.data.u64 = id;
    epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, talk->socket.get(), &event);
  }
  talks_[id] = std::move(talk);
}

void Prober::on_sockets() {
  epoll_event events[32];
  const int count = epoll_wait(epoll_.get(), events, 32, 0);
  for (int i = 0; i < count; ++i) go_on(events[i].data.u64, events[i].events);
}

void Prober::go_on(std::uint64_t id, std::uint32_t events) {
  const auto at = talks_.find(id);
  if (at == talks_.end()) return;
  Talk& talk = *at->second;
  const int fd = talk.socket.get();
  if (!talk.connected) {
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error != 0) {
      answer(talk, false, error_words(error));
      return drop(id);
    }
    if ((events & EPOLLOUT) == 0) return;
    talk.connected = true;
    if (talk.question.probe.kind == Probe::Kind::kTcp) {
      answer(talk, true, "");
      return drop(id);
    }
  }
  if (talk.sent < talk.request.size()) {
    const ssize_t sent = send(fd, talk.request.data() + talk.sent, talk.request.size() - talk.sent, MSG_NOSIGNAL);
    if (sent > 0) talk.sent += static_cast<std::size_t>(sent);
    if (talk.sent == talk.request.size()) {
      epoll_event event{};
      event.events = EPOLLIN | EPOLLRDHUP;
      event.data.u64 = id;
      epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, fd, &event);
    }
  }
  receive(id, talk);
}

void Prober::receive(std::uint64_t id, Talk& talk) {
  char bytes[4096];
  for (;;) {
    const ssize_t got = recv(talk.socket.get(), bytes, sizeof bytes, 0);
    const int error = errno;
    if (got < 0 && (error == EAGAIN || error == EINTR)) return;
    if (got > 0) talk.reply.append(bytes, static_cast<std::size_t>(got));
    const int status = status_of(talk.reply);
    if (status != 0) {
      const bool good = status >= 200 && status < 400;
      answer(talk, good, status < 0 ? "the answer is not HTTP" : "status " + std::to_string(status));
    }
    // Read to the end, so that the server sees its answer taken; up to the timeout and a size.
    if (got <= 0 || talk.reply.size() > kReplyMax) {
      answer(talk, false, got < 0 ? error_words(error) : "the connection was closed without an answer");
      return drop(id);
    }
  }
}

// Once for each question.
void Prober::answer(Talk& talk, bool good, const std::string& what) {
  if (std::exchange(talk.answered, true)) return;
  const AskPod& question = talk.question;
  ProbeAnswer said{good, good ? "" : words_of(question) + ": " + what};
  loop_.post([this, alive = alive_, ref = question.ref, role = question.role, said = std::move(said)] {
    if (*alive) answered_(ref, role, said);
  });
}

void Prober::drop(std::uint64_t id) {
  const auto at = talks_.find(id);
  if (at == talks_.end()) return;
  // Its timer may be what calls us.
  loop_.post([talk = std::shared_ptr<Talk>(std::move(at->second))] {});
  talks_.erase(at);
  --talking_;
  if (!waiting_.empty()) pump();
}

}  // namespace berth::agent
