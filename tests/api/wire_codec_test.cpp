// The codec: every message with random contents comes back the same, and no bytes whatever do harm.
#include <algorithm>
#include <array>
#include <boost/pfr.hpp>
#include <cstring>
#include <functional>
#include <gtest/gtest.h>
#include <random>
#include <set>
#include <sstream>

#include "api/wire/message.h"
#include "api/wire/schema/wire_generated.h"

namespace berth::wire {
namespace {

using state::IndexSet;
using Rng = std::mt19937_64;

template <class T>
struct IsVector : std::false_type {};
template <class T>
struct IsVector<std::vector<T>> : std::true_type {};
template <class T>
struct IsOptional : std::false_type {};
template <class T>
struct IsOptional<std::optional<T>> : std::true_type {};
template <class T>
struct IsVariant : std::false_type {};
template <class... T>
struct IsVariant<std::variant<T...>> : std::true_type {};
template <class T>
struct IsArray : std::false_type {};
template <class T, std::size_t N>
struct IsArray<std::array<T, N>> : std::true_type {};

// How many values an enum has, for those that travel.
template <class E>
constexpr std::uint64_t values_of() {
  if constexpr (std::is_same_v<E, state::PodState>) return state::kPodStates;
  if constexpr (std::is_same_v<E, state::WaitReason>) return state::kWaitReasons;
  if constexpr (std::is_same_v<E, state::Queue::State> || std::is_same_v<E, state::CoreFit::Level>) return 4;
  if constexpr (std::is_same_v<E, state::ExecPart::Kind>) return 8;
  if constexpr (std::is_same_v<E, state::TokenRole> || std::is_same_v<E, state::Protocol>) return 2;
  return 3;
}

// ---- random contents of any message, field by field, so that a field added tomorrow is tested as well
// -----------------
template <class T>
void fill(Rng& rng, T& out);

template <class V, std::size_t I = 0>
void fill_variant(Rng& rng, V& out, std::size_t which) {
  if constexpr (I < std::variant_size_v<V>) {
    if (which != I) return fill_variant<V, I + 1>(rng, out, which);
    std::variant_alternative_t<I, V> value;
    fill(rng, value);
    out = std::move(value);
  }
}

state::Topology some_topology(Rng& rng) {
  state::Topology out;
  const auto cores = static_cast<std::uint32_t>(rng() % 9);
  if (cores == 0) return out;
  for (std::uint32_t core = 0; core < cores; ++core) out.cores.push_back({core, core + 100});
  out.domains = {{state::Topology::Part::kMachine, 0, {0, cores}}, {state::Topology::Part::kL3, 7, {cores / 2, cores}}};
  out.memories = {{3, rng(), {0, cores}}};
  out.devices = {{rng() % 2 == 0, "cuda0", "0000:3b:00.0", {0, cores}}, {false, "", "", {0, 0}}};
  return out;
}

template <class T>
void fill(Rng& rng, T& out) {
  if constexpr (std::is_same_v<T, bool>) {
    out = rng() % 2 != 0;
  } else if constexpr (std::is_floating_point_v<T>) {
    out = static_cast<T>(rng() % 10'000) / 8;
  } else if constexpr (std::is_same_v<T, state::Limits>) {
    for (auto& most : out.most) most = static_cast<std::int64_t>(rng() % 1000) - 1;
    out.wait = rng() % 2 != 0;
  } else if constexpr (std::is_same_v<T, state::ErrorCode>) {
    out = static_cast<T>(1 + rng() % 8);
  } else if constexpr (std::is_enum_v<T>) {
    out = static_cast<T>(rng() % values_of<T>());
  } else if constexpr (std::is_integral_v<T>) {
    out = rng() % 4 == 0 ? T{0} : static_cast<T>(rng());
  } else if constexpr (std::is_same_v<T, std::string>) {
    out.resize(rng() % 3 == 0 ? 0 : rng() % 40);
    for (char& c : out) c = static_cast<char>(rng());
  } else if constexpr (std::is_same_v<T, IndexSet>) {
    const auto first = static_cast<std::uint32_t>(rng() % 1000);
    const auto step = static_cast<std::uint32_t>(1 + rng() % 3);
    out = *IndexSet::from_ranges({{first, first + step * 9, step}, {first + 100, first + 100, 1}});
    if (rng() % 3 == 0) out = IndexSet::dense(1);
  } else if constexpr (IsVector<T>::value) {
    out.resize(rng() % 5);
    for (auto& item : out) fill(rng, item);
  } else if constexpr (IsArray<T>::value) {
    for (auto& item : out) fill(rng, item);
  } else if constexpr (IsOptional<T>::value) {
    out.reset();
    if (rng() % 2 != 0) fill(rng, out.emplace());
  } else if constexpr (IsVariant<T>::value) {
    fill_variant(rng, out, rng() % std::variant_size_v<T>);
  } else if constexpr (!std::is_empty_v<T>) {
    boost::pfr::for_each_field(out, [&rng](auto& field) { fill(rng, field); });
  }
  // What is no step says nothing of one.
  if constexpr (std::is_same_v<T, state::JobSpec>) {
    if (!out.is_step()) out.step = {};
  }
  // An account's own row has its shares and limits from there.
  if constexpr (std::is_same_v<T, state::ShareRow>) {
    if (out.user.empty()) {
      out.shares = out.account.shares;
      out.limits = out.account.limits;
      out.is_default = false;
    }
  }
  // What belongs to no service has no place in one; times are not negative; revisions do not travel.
  if constexpr (std::is_same_v<T, state::Replica>) {
    if (out.of == state::ServiceId{}) out = {};
  }
  if constexpr (std::is_same_v<T, state::UpdatePolicy>) {
    for (auto* ms : {&out.delay_ms, &out.monitor_ms, &out.ready_within_ms}) *ms &= INT64_MAX;
  }
  if constexpr (std::is_same_v<T, state::RestartPolicy>) {
    for (auto* ms : {&out.delay_ms, &out.delay_max_ms, &out.window_ms}) *ms &= INT64_MAX;
  }
  if constexpr (std::is_same_v<T, state::ServiceStatus>) {
    out.replicas %= state::kReplicasMax;
    std::sort(out.done.begin(), out.done.end());
  }
  if constexpr (std::is_same_v<T, state::Service>) out.revisions.clear();
  // The scheduler's own word, which does not travel.
  if constexpr (std::is_same_v<T, state::Request>) out.queue_nodes.clear();
  // What is not sound is refused: any that are.
  if constexpr (std::is_same_v<T, state::Pinning>) {
    out.cpus = std::array<const char*, 3>{"0", "0-3,8", "17,19-20"}[rng() % 3];
    out.idle %= 100;
    if (rng() % 2 == 0) out = {};
  }
  if constexpr (std::is_same_v<T, state::Topology>) out = some_topology(rng);
  // By contract this index means nothing outside of the state, and does not travel.
  if constexpr (std::is_same_v<T, state::PodOutcome>) out.message = 0;
}

// ---- all contents as text, to compare
// ---------------------------------------------------------------------------------
template <class T>
void dump(std::ostream& to, const T& value) {
  if constexpr (std::is_enum_v<T>) {
    to << static_cast<int>(value) << ' ';
  } else if constexpr (std::is_arithmetic_v<T>) {
    to << +value << ' ';
  } else if constexpr (std::is_same_v<T, std::string>) {
    to << value.size() << ':' << value << ' ';
  } else if constexpr (std::is_same_v<T, IndexSet>) {
    to << value.to_string() << ' ';
  } else if constexpr (IsVector<T>::value || IsArray<T>::value) {
    to << '[' << value.size() << ' ';
    for (const auto& item : value) dump(to, item);
    to << "] ";
  } else if constexpr (IsOptional<T>::value) {
    to << (value ? "some " : "none ");
    if (value) dump(to, *value);
  } else if constexpr (IsVariant<T>::value) {
    to << '<' << value.index() << ' ';
    std::visit([&to](const auto& one) { dump(to, one); }, value);
    to << "> ";
  } else if constexpr (!std::is_empty_v<T>) {
    to << '{';
    boost::pfr::for_each_field(value, [&to](const auto& field) { dump(to, field); });
    to << "} ";
  }
}

std::string text_of(const Message& message) {
  std::ostringstream out;
  out << message.request << ' ';
  dump(out, message.body);
  return out.str();
}

std::span<const std::byte> content(const std::string& frame) { return std::as_bytes(std::span(frame)).subspan(4); }

// Body with alternative `i`, and inside it, where that is a choice again, alternative `j`.
template <class V, std::size_t I = 0>
void each_alternative(Rng& rng, const std::function<void(V)>& use) {
  if constexpr (I < std::variant_size_v<V>) {
    using Alternative = std::variant_alternative_t<I, V>;
    if constexpr (IsVariant<Alternative>::value) {
      each_alternative<Alternative>(rng, [&use](Alternative inner) { use(V(std::move(inner))); });
    } else {
      Alternative value;
      fill(rng, value);
      use(V(std::move(value)));
    }
    each_alternative<V, I + 1>(rng, use);
  }
}

void each_message(Rng& rng, const std::function<void(const Message&)>& use) {
  each_alternative<Body>(rng, [&](Body body) { use(Message{rng(), std::move(body)}); });
}

TEST(WireCodec, EveryMessageComesBackWithAllThatItHeld) {
  Rng rng(20260501);
  std::set<std::pair<std::size_t, std::size_t>> seen;
  for (int round = 0; round < 200; ++round) {
    each_message(rng, [&](const Message& message) {
      const std::string frame = encode_frame(message);
      std::uint32_t length = 0;
      std::memcpy(&length, frame.data(), 4);
      ASSERT_EQ(length, frame.size() - 4);
      const auto back = decode_message(content(frame));
      ASSERT_TRUE(back) << text_of(message);
      ASSERT_EQ(text_of(*back), text_of(message));
      const auto* request = std::get_if<state::ClientRequest>(&message.body);
      const auto* reply = std::get_if<state::ServerReply>(&message.body);
      const auto* archive = std::get_if<state::ArchiveRequest>(&message.body);
      seen.emplace(message.body.index(), request   ? request->index()
                                         : reply   ? reply->index()
                                         : archive ? archive->index()
                                                   : 0);
    });
  }
  EXPECT_EQ(seen.size(), std::variant_size_v<Body> - 3 + std::variant_size_v<state::ClientRequest> +
                             std::variant_size_v<state::ServerReply> + std::variant_size_v<state::ArchiveRequest>);
}

TEST(WireCodec, TheComparisonOfThisTestSeesOneChangedField) {
  Message one{1, state::ReadLog{}};
  Message other = one;
  std::get<state::ReadLog>(other.body).request.wait_ms = 1;
  EXPECT_NE(text_of(one), text_of(other));
}

TEST(WireCodec, TheSameMessageGivesTheSameBytesWhateverWasEncodedBefore) {
  Rng rng(5);
  each_message(rng, [&](const Message& message) {
    const std::string first = encode_frame(message);
    (void)encode_frame({0, state::AgentHeartbeat{}});
    ASSERT_EQ(encode_frame(message), first);
  });
}

TEST(WireCodec, AFrameCutAtAnyByteIsRefused) {
  Rng rng(7);
  each_message(rng, [](const Message& message) {
    const std::string frame = encode_frame(message);
    for (std::size_t keep = 0; keep < frame.size() - 4; ++keep) {
      // A copy of its own size, so that a sanitizer sees a read past its end.
      const std::vector<std::byte> cut(content(frame).begin(),
                                       content(frame).begin() + static_cast<std::ptrdiff_t>(keep));
      const auto back = decode_message(cut);
      if (back) {
        ASSERT_EQ(text_of(*back), text_of(message)) << "only padding may be missing";
      } else {
        ASSERT_EQ(back.error().code, state::ErrorCode::kProtocol);
      }
    }
  });
}

TEST(WireCodec, ChangedBytesAreRefusedOrGiveAnotherMessageButNeverHarm) {
  Rng rng(11);
  for (int round = 0; round < 20; ++round) {
    each_message(rng, [&rng](const Message& message) {
      std::string frame = encode_frame(message);
      for (int change = 0; change < 30; ++change) {
        std::string bad = frame;
        for (std::uint64_t n = 1 + rng() % 3; n != 0; --n) bad[4 + rng() % (bad.size() - 4)] = static_cast<char>(rng());
        const std::vector<std::byte> bytes(content(bad).begin(), content(bad).end());
        const auto back = decode_message(bytes);
        if (back) (void)encode_frame(*back);
      }
    });
  }
}

TEST(WireCodec, AFrameMayLieAtAnyAddress) {
  Rng rng(13);
  Message message{9, Body{}};
  state::SubmitRequest submit;
  submit.jobs.resize(3);
  for (auto& job : submit.jobs) fill(rng, job);
  message.body = state::ClientRequest(std::move(submit));
  const std::string frame = encode_frame(message);
  alignas(8) std::array<std::byte, 4096> room;
  ASSERT_LT(frame.size() + 8, room.size());
  for (std::size_t shift = 0; shift < 8; ++shift) {
    std::memcpy(room.data() + shift, frame.data() + 4, frame.size() - 4);
    const auto back = decode_message(std::span(room).subspan(shift, frame.size() - 4));
    ASSERT_TRUE(back) << shift;
    ASSERT_EQ(text_of(*back), text_of(message));
  }
}

// The verifier accepts a list whose items lie where their type must not.
TEST(WireCodec, AListThatLiesAskewIsRefused) {
  state::WatchJobsRequest watch;
  watch.jobs = {state::JobId{(1ULL << 32) | 1}, state::JobId{2}};
  std::string frame = encode_frame({1, state::ClientRequest(watch)});
  ASSERT_TRUE(decode_message(content(frame)));
  const auto word = [&](std::size_t at) {
    std::uint32_t value = 0;
    std::memcpy(&value, frame.data() + at, sizeof value);
    return value;
  };
  // The list's length, 2, stands before its first id. Pointed at 4 bytes further on, it is a list of 1, and verifies.
  std::size_t list = 4;
  while (list + 20 <= frame.size() && (word(list) != 2 || word(list + 4) != 1 || word(list + 8) != 1)) list += 4;
  ASSERT_LE(list + 20, frame.size());
  int moved = 0;
  for (std::size_t at = 4; at < list; at += 4) {
    if (at + word(at) != list) continue;
    const std::uint32_t askew = word(at) + 4;
    std::memcpy(frame.data() + at, &askew, sizeof askew);
    ++moved;
  }
  ASSERT_EQ(moved, 1);
  const auto back = decode_message(content(frame));
  ASSERT_FALSE(back);
  EXPECT_EQ(back.error().code, state::ErrorCode::kProtocol);
}

TEST(WireCodec, MessagesLargerThanAFrameAreRefusedByTheirSizeAlone) {
  state::LogChunk chunk;
  chunk.bytes.assign(kMaxFrameBytes, 'x');
  const std::string frame = encode_frame({1, state::ServerReply(std::move(chunk))});
  const auto back = decode_message(content(frame));
  ASSERT_FALSE(back);
  EXPECT_EQ(back.error().code, state::ErrorCode::kProtocol);
  EXPECT_TRUE(decode_message(content(encode_frame({1, state::AgentHeartbeat{}}))));
}

TEST(WireCodec, EnumsOutsideTheirRangeAreRefused) {
  state::NodeActionRequest action;
  action.action = static_cast<state::NodeActionRequest::Action>(3);
  EXPECT_FALSE(decode_message(content(encode_frame({1, state::ClientRequest(action)}))));
  Hello hello;
  hello.role = static_cast<PeerRole>(4);
  EXPECT_FALSE(decode_message(content(encode_frame({0, hello}))));
  state::StopPods stop{{{{}, static_cast<state::PodState>(state::kPodStates)}}};
  EXPECT_FALSE(decode_message(content(encode_frame({0, stop}))));
  for (const int code : {0, 9, 255}) {
    state::Error error{static_cast<state::ErrorCode>(code), "", "", 0};
    EXPECT_FALSE(decode_message(content(encode_frame({1, state::ServerReply(error)})))) << code;
  }
}

// ---- hostile frames: small ones that would unfold into huge work
// ------------------------------------------------------

std::string finish(flatbuffers::FlatBufferBuilder& b, fbs::Body type, flatbuffers::Offset<void> body) {
  b.Finish(fbs::CreateMessage(b, 1, type, body));
  return "size" + std::string(reinterpret_cast<const char*>(b.GetBufferPointer()), b.GetSize());
}

TEST(WireCodec, ManyReferencesToOneLongTextAreRefused) {
  flatbuffers::FlatBufferBuilder b;
  const auto line = b.CreateString(std::string(100'000, 'x'));
  const std::vector<flatbuffers::Offset<flatbuffers::String>> lines(1'000'000, line);
  const auto list = b.CreateVector(lines);
  const std::string frame = finish(b, fbs::Body::Explanation, fbs::CreateExplanation(b, 0, 0, list).Union());
  EXPECT_FALSE(decode_message(content(frame)));  // would be 100 GB
}

TEST(WireCodec, ManyReferencesToOneJobWithManyFeaturesAreRefusedAtOnce) {
  flatbuffers::FlatBufferBuilder b;
  const auto feature = b.CreateString("x");
  const std::vector<flatbuffers::Offset<flatbuffers::String>> features(2'000'000, feature);
  const auto request = spec::CreateRequest(b, 1, 1, 0, b.CreateVector(features));
  spec::JobSpecBuilder job(b);
  job.add_request(request);
  const auto offset = job.Finish();
  const std::vector<flatbuffers::Offset<spec::JobSpec>> jobs(500'000, offset);
  const auto list = b.CreateVector(jobs);
  const std::string frame = finish(b, fbs::Body::SubmitRequest, fbs::CreateSubmitRequest(b, list).Union());
  // A trillion strings to look at: were it tried, this test would run for an hour.
  EXPECT_FALSE(decode_message(content(frame)));
}

TEST(WireCodec, ManyReferencesToOneOrderWithManyPeersAreRefusedAtOnce) {
  flatbuffers::FlatBufferBuilder b;
  const auto peer = b.CreateString("node");
  const std::vector<flatbuffers::Offset<flatbuffers::String>> peers(2'000'000, peer);
  const auto names = b.CreateVector(peers);
  fbs::StartOrderBuilder order(b);
  order.add_peers(names);
  const auto offset = order.Finish();
  const std::vector<flatbuffers::Offset<fbs::StartOrder>> orders(500'000, offset);
  const auto list = b.CreateVector(orders);
  const std::string frame = finish(b, fbs::Body::StartPods, fbs::CreateStartPods(b, list).Union());
  EXPECT_FALSE(decode_message(content(frame)));
}

TEST(WireCodec, EmptyListsAreAcceptedWhereverTheyEnd) {
  for (std::uint64_t request : {0ULL, 1ULL}) {
    EXPECT_TRUE(decode_message(content(encode_frame({request, state::AgentStatus{}}))));
    EXPECT_TRUE(decode_message(content(encode_frame({request, state::ForgetJobs{}}))));
    EXPECT_TRUE(decode_message(content(encode_frame({request, state::StartPods{}}))));
    EXPECT_TRUE(decode_message(content(encode_frame({request, state::ServerReply(state::SubmitReply{})}))));
  }
}

TEST(WireCodec, EndsWhoseMessagesAreMissingOrLeftOverAreRefused) {
  for (const bool missing : {true, false}) {
    flatbuffers::FlatBufferBuilder b;
    const std::vector<fbs::PodEnd> ends{fbs::PodEnd(fbs::PodRef(1, 0, 1), 0, 0, 1, 0, 0, 1, 3, 0, false, missing)};
    const auto list = b.CreateVectorOfStructs(ends);
    const auto texts = missing ? 0 : b.CreateVectorOfStrings({"nobody's"});
    const std::string frame = finish(b, fbs::Body::AgentStatus, fbs::CreateAgentStatus(b, 0, list, texts).Union());
    EXPECT_FALSE(decode_message(content(frame))) << missing;
  }
}

// What is counted against copies without end must let an honest list of short words through, whatever their length.
TEST(WireCodec, ListsOfManyShortWordsComeBackWhole) {
  for (std::size_t length = 0; length < 12; ++length) {
    state::JobPage page;
    for (int i = 0; i < 4; ++i) {
      page.rows.emplace_back();
      page.rows.back().nodes.assign(1'000, std::string(length, 'n'));
    }
    const auto back = decode_message(content(encode_frame({7, state::ServerReply{page}})));
    ASSERT_TRUE(back.ok()) << length << ": " << back.error().message;
    const auto* rows = std::get_if<state::JobPage>(&std::get<state::ServerReply>(back->body));
    ASSERT_NE(rows, nullptr);
    EXPECT_EQ(rows->rows[3].nodes, page.rows[3].nodes);
  }
}

TEST(WireCodec, FramesOfThousandsOfPodsComeBackWhole) {
  Rng rng(17);
  state::SubmitRequest submit;
  submit.jobs.resize(1'000);
  for (auto& job : submit.jobs) fill(rng, job);
  state::StartPods start;
  start.orders.resize(500);
  for (auto& order : start.orders) fill(rng, order);
  state::AgentStatus status;
  status.starts.resize(20'000);
  status.ends.resize(20'000);
  for (auto& one : status.starts) fill(rng, one);
  for (auto& one : status.ends) fill(rng, one);
  for (const Message& message : {Message{1, state::ClientRequest(submit)}, Message{0, start}, Message{0, status}}) {
    const auto back = decode_message(content(encode_frame(message)));
    ASSERT_TRUE(back);
    EXPECT_TRUE(text_of(*back) == text_of(message));
  }
}

}  // namespace
}  // namespace berth::wire
