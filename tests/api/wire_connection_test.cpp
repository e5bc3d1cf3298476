// Loop, connections and listeners over a Unix socket: frames in any portions, bounds, back-pressure, ends.
#include <array>
#include <atomic>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

#include "api/wire/connection.h"
#include "api/wire/message.h"

namespace berth::wire {
namespace {

using state::ErrorCode;
using Ptr = std::shared_ptr<Connection>;

std::string framed(std::string_view content) {
  const auto size = static_cast<std::uint32_t>(content.size());
  std::string out(4, '\0');
  std::memcpy(out.data(), &size, 4);
  return out.append(content);
}
std::string text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

class WireConnection : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (std::filesystem::temp_directory_path() / "berth-wire-XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    directory_ = pattern;
    path_ = directory_ + "/s";
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  std::unique_ptr<Listener> listen(AcceptHandler on_accept) {
    auto made = listen_unix(loop_, path_, std::move(on_accept));
    EXPECT_TRUE(made) << (made ? "" : made.error().message);
    return made ? std::move(*made) : nullptr;
  }
  // Runs the loop until done() or, where that never comes, so long that it counts as a failure.
  void run_until(std::function<bool()> done, std::int64_t limit_ms = 20'000) {
    bool late = false;
    const auto limit = loop_.after_ms(limit_ms, [&] {
      late = true;
      loop_.stop();
    });
    std::shared_ptr<Loop::Timer> tick;
    std::function<void()> look = [&] {
      if (done()) return loop_.stop();
      tick = loop_.after_ms(1, look);
    };
    loop_.post(look);
    loop_.run();
    EXPECT_FALSE(late) << "it did not happen";
  }
  // A plain blocking socket of the other side, to send what no Connection would.
  int raw_client() const {
    const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path_.copy(address.sun_path, path_.size());
    EXPECT_EQ(::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0) << std::strerror(errno);
    return fd;
  }
  static void write_all(int fd, std::string_view bytes) {
    ASSERT_EQ(::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL), static_cast<ssize_t>(bytes.size()));
  }
  static void write_pipe(int fd, std::string_view bytes) {
    ASSERT_EQ(::write(fd, bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
  }
  void run_for(std::int64_t ms) {
    bool over = false;
    const auto timer = loop_.after_ms(ms, [&over] { over = true; });
    run_until([&over] { return over; });
  }
  static bool readable(int fd) {
    pollfd one{fd, POLLIN, 0};
    return ::poll(&one, 1, 0) > 0;
  }

  Loop loop_;
  std::string directory_, path_;
};

TEST_F(WireConnection, FramesArriveWholeAndInOrderHoweverTheyAreCut) {
  std::vector<std::string> got;
  Ptr server;
  const auto listener = listen([&](Ptr c) {
    server = std::move(c);
    server->start({[&](auto bytes) { got.push_back(text(bytes)); }, {}, {}});
  });
  const std::vector<std::string> sent{"a", std::string(70'000, 'b'), "cc", std::string(3, 'd'),
                                      std::string(5'000, 'e')};
  const int fd = raw_client();
  std::thread writer([&] {
    std::string all;
    for (const auto& one : sent) all += framed(one);
    for (std::size_t at = 0, step = 1; at < all.size(); at += step, step = step * 2 % 9973 + 1) {
      write_all(fd, std::string_view(all).substr(at, step));
      if (at < 40) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  });
  run_until([&] { return got.size() == sent.size(); });
  writer.join();
  EXPECT_EQ(got, sent);
  ::close(fd);
}

TEST_F(WireConnection, TheCallerIsWhoTheKernelSays) {
  Ptr server;
  const auto listener = listen([&](Ptr c) { server = std::move(c); });
  const int fd = raw_client();
  run_until([&] { return server != nullptr; });
  EXPECT_EQ(server->peer().kind, PeerIdentity::Kind::kUnix);
  EXPECT_EQ(server->peer().uid, ::getuid());
  EXPECT_EQ(server->peer().gid, ::getgid());
  EXPECT_EQ(server->peer().pid, ::getpid());
  ::close(fd);
}

TEST_F(WireConnection, ALengthOverTheLimitClosesAtOnceWithOneLine) {
  std::vector<state::Error> ends;
  int frames = 0;
  Ptr server;
  const auto listener = listen([&](Ptr c) {
    server = std::move(c);
    server->set_max_frame(1'000);
    server->start({[&](auto) { ++frames; }, [&](const state::Error& e) { ends.push_back(e); }, {}});
  });
  const int fd = raw_client();
  write_all(fd, framed(std::string(1'000, 'x')));
  write_all(fd, std::string("\xe9\x03\x00\x00", 4));  // 1001, and none of it follows
  run_until([&] { return !ends.empty(); });
  EXPECT_EQ(frames, 1);
  ASSERT_EQ(ends.size(), 1U);
  EXPECT_EQ(ends[0].code, ErrorCode::kProtocol);
  EXPECT_THAT(ends[0].message, testing::HasSubstr("1001"));
  EXPECT_EQ(ends[0].message.find('\n'), std::string::npos);
  ::close(fd);
}

std::size_t resident_kib() {
  std::ifstream in("/proc/self/statm");
  std::size_t all = 0, resident = 0;
  in >> all >> resident;
  return resident * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)) / 1024;
}

TEST_F(WireConnection, AnAnnouncedSizeTakesNoMemoryUntilItsBytesCome) {
  std::vector<Ptr> servers;
  const auto listener = listen([&](Ptr c) {
    c->start({[](auto) {}, {}, {}});
    servers.push_back(std::move(c));
  });
  const std::size_t before = resident_kib();
  std::vector<int> fds;
  for (int i = 0; i < 20; ++i) {
    fds.push_back(raw_client());
    const std::uint32_t size = kMaxFrameBytes;
    write_all(fds.back(), std::string_view(reinterpret_cast<const char*>(&size), 4));
  }
  run_until([&] { return servers.size() == fds.size(); });
  run_for(100);
  EXPECT_LT(resident_kib() - before, 64U * 1024) << "twenty frames of 32 MiB were announced, and none was sent";
  for (const int fd : fds) ::close(fd);
}

TEST_F(WireConnection, FramesOfOneTurnShareAWrite) {
  Ptr server;
  const auto listener = listen([&](Ptr c) { server = std::move(c); });
  // A socket that keeps the bounds of messages would show the writes; a stream shows them by what one read gets.
  const int fd = raw_client();
  run_until([&] { return server != nullptr; });
  std::string expected;
  for (int i = 0; i < 50; ++i) {
    server->send(framed(std::to_string(i)));
    expected += framed(std::to_string(i));
    EXPECT_FALSE(readable(fd)) << "nothing leaves before the turn ends";
  }
  EXPECT_EQ(server->queued_bytes(), expected.size());
  run_until([&] { return server->queued_bytes() == 0; });
  std::array<char, 4096> room{};
  const ssize_t got = ::recv(fd, room.data(), room.size(), 0);
  EXPECT_EQ(std::string(room.data(), static_cast<std::size_t>(got)), expected);
  ::close(fd);
}

TEST_F(WireConnection, ASlowReaderFillsTheQueueAndDrainsIt) {
  Ptr server;
  int drained = 0;
  const auto listener = listen([&](Ptr c) {
    server = std::move(c);
    server->start({[](auto) {}, {}, [&] { ++drained; }});
  });
  const int fd = raw_client();
  run_until([&] { return server != nullptr; });
  const std::string frame = framed(std::string(1U << 20, 'x'));
  constexpr std::size_t kFrames = 8;
  for (std::size_t i = 0; i < kFrames; ++i) server->send(frame);
  run_for(50);
  EXPECT_GT(server->queued_bytes(), 4U << 20) << "what the kernel did not take is counted";
  EXPECT_EQ(drained, 0);
  std::size_t got = 0;
  std::thread reader([&] {
    std::vector<char> room(256 * 1024);
    while (got < kFrames * frame.size()) {
      const ssize_t n = ::recv(fd, room.data(), room.size(), 0);
      if (n <= 0) break;
      got += static_cast<std::size_t>(n);
    }
  });
  run_until([&] { return drained != 0; });
  reader.join();
  EXPECT_EQ(got, kFrames * frame.size());
  EXPECT_EQ(server->queued_bytes(), 0U);
  ::close(fd);
}

TEST_F(WireConnection, PausedReadingDeliversNothingUntilResumedAndLosesNothing) {
  std::vector<std::string> got;
  Ptr server;
  const auto listener = listen([&](Ptr c) {
    server = std::move(c);
    server->start({[&](auto bytes) {
                     got.push_back(text(bytes));
                     if (got.size() == 2) server->pause_reading(true);
                   },
                   {},
                   {}});
  });
  const int fd = raw_client();
  for (int i = 0; i < 5; ++i) write_all(fd, framed(std::to_string(i)));
  run_until([&] { return got.size() == 2; });
  run_for(30);
  EXPECT_EQ(got.size(), 2U);
  write_all(fd, framed("5"));
  server->pause_reading(false);
  run_until([&] { return got.size() == 6; });
  EXPECT_THAT(got, testing::ElementsAre("0", "1", "2", "3", "4", "5"));
  ::close(fd);
}

TEST_F(WireConnection, TheEndOfTheOtherSideIsToldOnce) {
  int ends = 0;
  Ptr server;
  const auto listener = listen([&](Ptr c) {
    server = std::move(c);
    server->start({[](auto) {},
                   [&](const state::Error& e) {
                     ++ends;
                     EXPECT_EQ(e.code, ErrorCode::kUnavailable);
                     server.reset();  // the last owner lets go inside of the call
                   },
                   {}});
  });
  ::close(raw_client());
  run_until([&] { return ends != 0; });
  run_for(20);
  EXPECT_EQ(ends, 1);
  EXPECT_EQ(server, nullptr);
}

TEST_F(WireConnection, AConnectionMayBeDroppedWithinOnFrame) {
  int frames = 0;
  Ptr server;
  const auto listener = listen([&](Ptr c) {
    server = std::move(c);
    server->start({[&](auto) {
                     ++frames;
                     server.reset();
                   },
                   [](const state::Error&) { FAIL() << "who closed it himself is not told"; },
                   {}});
  });
  const int fd = raw_client();
  write_all(fd, framed("1") + framed("2"));
  run_until([&] { return frames != 0; });
  run_for(20);
  EXPECT_EQ(frames, 1);
  char byte = 0;
  EXPECT_LE(::recv(fd, &byte, 1, 0), 0);
  ::close(fd);
}

TEST_F(WireConnection, CloseAfterSendDeliversAllEvenIfTheOwnerLetsGo) {
  const std::string last = framed(std::string(4U << 20, 'z'));
  Ptr server;
  const auto listener = listen([&](Ptr c) { server = std::move(c); });
  const int fd = raw_client();
  write_all(fd, framed("not read by the other side"));
  run_until([&] { return server != nullptr; });
  server->start({[](auto) {}, [](const state::Error&) { FAIL() << "on_close after close_after_send"; }, {}});
  server->send(last);
  server->close_after_send();
  server.reset();
  std::string got;
  std::atomic<bool> ended{false};
  std::thread reader([&] {
    std::vector<char> room(256 * 1024);
    for (ssize_t n = 0; (n = ::recv(fd, room.data(), room.size(), 0)) > 0;)
      got.append(room.data(), static_cast<std::size_t>(n));
    ended = true;
  });
  run_until([&] { return ended.load(); });
  reader.join();
  EXPECT_TRUE(got == last) << got.size() << " of " << last.size();
  ::close(fd);
}

TEST_F(WireConnection, TheLastWordsOfAPeerAreHeardEvenIfWeWereWriting) {
  // The peer refuses and closes while we still send: what it said must arrive before the end.
  std::vector<std::string> got;
  bool ended = false;
  Ptr server;
  const auto listener = listen([&](Ptr c) {
    server = std::move(c);
    server->start({[&](auto bytes) { got.push_back(text(bytes)); }, [&](const state::Error&) { ended = true; }, {}});
  });
  const int fd = raw_client();
  run_until([&] { return server != nullptr; });
  write_all(fd, framed("why"));
  ::close(fd);
  for (int i = 0; i < 10; ++i) server->send(framed(std::string(100'000, 'x')));
  run_until([&] { return ended; });
  EXPECT_THAT(got, testing::ElementsAre("why"));
}

TEST_F(WireConnection, ThousandsOfConnectionsComeAtOnceAndAllAreServed) {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
  const std::size_t count = std::min<std::size_t>(6'000, (limit.rlim_cur - 200) / 2);
  std::vector<Ptr> servers, clients;
  std::size_t answers = 0, failures = 0;
  const auto listener = listen([&](Ptr c) {
    Connection* one = c.get();
    c->start({[one](auto bytes) { one->send(framed(text(bytes))); }, {}, {}});
    servers.push_back(std::move(c));
  });
  Endpoint endpoint;
  endpoint.path = path_;
  // All of them before the listener had a chance to accept one: more than its queue holds.
  for (std::size_t i = 0; i < count; ++i) {
    connect(loop_, endpoint, nullptr, 20'000, [&](state::Result<Ptr> made) {
      if (!made) {
        ++failures;
        return;
      }
      (*made)->start({[&](auto) { ++answers; }, [&](const state::Error&) { ++failures; }, {}});
      (*made)->send(framed("hello"));
      clients.push_back(std::move(*made));
    });
  }
  run_until([&] { return answers + failures == count; }, 60'000);
  EXPECT_EQ(failures, 0U);
  EXPECT_EQ(answers, count);
}

TEST_F(WireConnection, IdleConnectionsAreSmallEvenAfterABusyMoment) {
  constexpr std::size_t kCount = 400;
  std::vector<Ptr> servers;
  std::size_t frames = 0;
  const auto listener = listen([&](Ptr c) {
    c->start({[&](auto) { ++frames; }, {}, {}});
    servers.push_back(std::move(c));
  });
  const std::size_t before = resident_kib();
  std::vector<int> fds;
  for (std::size_t i = 0; i < kCount; ++i) fds.push_back(raw_client());
  const std::string busy = framed(std::string(60'000, 'x'));
  for (const int fd : fds) write_all(fd, busy);
  run_until([&] { return frames == kCount; });
  run_for(20);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  EXPECT_LT((resident_kib() - before) / kCount, 16U) << "KiB for each, with what the allocator keeps";
#else
  (void)before;
#endif
  for (const int fd : fds) ::close(fd);
}

TEST_F(WireConnection, AStaleSocketIsReplacedALivingOneRefusedAndAFileKept) {
  {
    const int fd = ::socket(AF_UNIX, SOCK_STREAM, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path_.copy(address.sun_path, path_.size());
    ASSERT_EQ(::bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    ::close(fd);  // as kill -9 leaves it
  }
  const auto listener = listen([](Ptr) {});
  ASSERT_NE(listener, nullptr);
  struct stat info {};
  ASSERT_EQ(::stat(path_.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777U, 0666U);
  const auto second = listen_unix(loop_, path_, [](Ptr) {});
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, ErrorCode::kConflict);
  EXPECT_THAT(second.error().message, testing::HasSubstr(path_));

  const std::string file = directory_ + "/file";
  std::ofstream(file) << "precious";
  EXPECT_FALSE(listen_unix(loop_, file, [](Ptr) {}));
  EXPECT_EQ(std::filesystem::file_size(file), 8U);
  const auto nowhere = listen_unix(loop_, directory_ + "/no/such/s", [](Ptr) {});
  ASSERT_FALSE(nowhere);
  EXPECT_THAT(nowhere.error().message, testing::HasSubstr("No such file or directory"));
  const auto long_name = listen_unix(loop_, directory_ + "/" + std::string(200, 'x'), [](Ptr) {});
  ASSERT_FALSE(long_name);
}

TEST_F(WireConnection, AListenerTakesItsSocketAwayButNotThatOfItsSuccessor) {
  auto first = listen([](Ptr) {});
  ASSERT_NE(first, nullptr);
  ::unlink(path_.c_str());  // as an operator would, and starts another server
  const auto second = listen([](Ptr) {});
  first.reset();
  EXPECT_TRUE(std::filesystem::exists(path_));
}

TEST_F(WireConnection, ConnectingToNothingSaysWhere) {
  std::string message;
  Endpoint endpoint;
  endpoint.path = path_;
  bool inside = true;
  connect(loop_, endpoint, nullptr, 1'000, [&](state::Result<Ptr> made) {
    EXPECT_FALSE(inside) << "the answer comes later, never within the call";
    ASSERT_FALSE(made);
    message = made.error().message;
  });
  inside = false;
  run_until([&] { return !message.empty(); });
  EXPECT_THAT(message, testing::AllOf(testing::HasSubstr(path_), testing::HasSubstr("No such file or directory")));
}

// ---- Loop -----------------------------------------------------------------------------------------------------------

TEST_F(WireConnection, TasksPostedFromManyThreadsAllRunInTheOrderOfTheirThread) {
  constexpr int kThreads = 4, kTasks = 20'000;
  std::array<int, kThreads> last{};
  int done = 0;
  std::vector<std::thread> threads;
  for (std::size_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 1; i <= kTasks; ++i) {
        loop_.post([&, t, i] {
          EXPECT_EQ(last[t], i - 1);
          last[t] = i;
          ++done;
        });
      }
    });
  }
  run_until([&] { return done == kThreads * kTasks; });
  for (auto& thread : threads) thread.join();
}

TEST_F(WireConnection, TimersFireInOrderAndNeverAfterTheirHandleIsGone) {
  std::string order;
  const auto b = loop_.after_ms(20, [&] { order += 'b'; });
  const auto a = loop_.after_ms(5, [&] { order += 'a'; });
  auto gone = loop_.after_ms(10, [&] { order += 'x'; });
  std::shared_ptr<Loop::Timer> itself;
  itself = loop_.after_ms(15, [&] {
    order += 's';
    itself.reset();
  });
  gone.reset();
  run_until([&] { return order.size() == 3; });
  EXPECT_EQ(order, "asb");
}

TEST_F(WireConnection, AWatchedPidfdTellsOfTheEndUntilTheHandleGoes) {
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::usleep(20'000);
    ::_exit(0);
  }
  const int fd = static_cast<int>(::syscall(SYS_pidfd_open, pid, 0));
  if (fd < 0) GTEST_SKIP() << "this kernel has no pidfd";
  int calls = 0;
  std::shared_ptr<Loop::Watch> watch;
  watch = loop_.watch_readable(fd, [&] {
    if (++calls == 3) watch.reset();  // still readable, so it is called again
  });
  ::close(fd);  // a duplicate is watched
  run_until([&] { return calls == 3; });
  run_for(20);
  EXPECT_EQ(calls, 3);
  ::waitpid(pid, nullptr, 0);
}

TEST_F(WireConnection, AWatchIsCalledAsLongAsThereIsSomethingToRead) {
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
  int calls = 0;
  const auto watch = loop_.watch_readable(ends[0], [&] {
    char byte = 0;
    ASSERT_EQ(::read(ends[0], &byte, 1), 1);
    ++calls;
  });
  write_pipe(ends[1], "abc");
  run_until([&] { return calls == 3; });
  write_pipe(ends[1], "d");
  run_until([&] { return calls == 4; });
  ::close(ends[0]);
  ::close(ends[1]);
}

TEST_F(WireConnection, SignalsArriveOnTheLoop) {
  int caught = 0;
  const auto signals = loop_.on_signals({SIGUSR1, SIGUSR2}, [&](int signal) { caught = caught * 100 + signal; });
  ::kill(::getpid(), SIGUSR1);
  run_until([&] { return caught == SIGUSR1; });
  ::kill(::getpid(), SIGUSR2);
  run_until([&] { return caught == SIGUSR1 * 100 + SIGUSR2; });
}

TEST(WireEndpoint, IsAPathOrAHostAndPort) {
  EXPECT_EQ(parse_endpoint("unix:/run/x", "server")->path, "/run/x");
  EXPECT_EQ(parse_endpoint("/run/x", "server")->path, "/run/x");
  EXPECT_EQ(parse_endpoint("head:4242", "server")->to_string(), "head:4242");
  EXPECT_EQ(parse_endpoint("[::1]:4242", "server")->to_string(), "[::1]:4242");
  EXPECT_EQ(parse_endpoint("[::1]:4242", "server")->host, "::1");
  for (const char* bad :
       {"", "unix:", "host", ":1", "host:", "host:x", "host:1x", "host:65536", "host:-1", "[::1:1", "[]:1", "::1:1"}) {
    const auto parsed = parse_endpoint(bad, "server");
    ASSERT_FALSE(parsed) << bad;
    EXPECT_EQ(parsed.error().field, "server");
    EXPECT_EQ(parsed.error().code, ErrorCode::kInvalid);
  }
}

}  // namespace
}  // namespace berth::wire
