// Accounts, qualities of service and shares, through the core: who is charged, what limits hold, who is next.
#include <cmath>

#include "tests/scheduler/harness.h"

namespace berth::scheduler {
namespace {

using namespace state;

constexpr Resources kBig{64'000, 65'536, 8};

Limits limits(std::initializer_list<std::pair<Limit, std::int64_t>> most, bool wait = false) {
  Limits out;
  for (const auto& [limit, value] : most) out.most[static_cast<std::size_t>(limit)] = value;
  out.wait = wait;
  return out;
}

void add_account(Harness& h, const std::string& name, const std::string& parent = "", std::uint32_t shares = 1,
                 Limits most = {}) {
  h.ask_for<Ok>(AccountActionRequest{false, {name, parent, shares, "", most}});
}
void add_user(Harness& h, std::uint32_t uid, const std::string& account, Limits most = {}, std::uint32_t shares = 1) {
  h.ask_for<Ok>(MemberActionRequest{false, {account, "user" + std::to_string(uid), shares, false, most}});
}
JobSpec in(const std::string& account, std::uint32_t cpu_milli = 1000) {
  JobSpec spec = single(cpu_milli);
  spec.account = account;
  return spec;
}
JobRow row(Harness& h, JobId id) { return h.ask_for<JobDetail>(ShowJobRequest{id}).row; }
const ShareRow& share_of(const AccountPage& page, const std::string& account, const std::string& user = "") {
  for (const ShareRow& row : page.rows) {
    if (row.account.name == account && row.user == user) return row;
  }
  throw std::runtime_error("no row for " + account + "/" + user);
}

TEST(Accounts, AJobIsChargedToTheOneItNamesOrToItsUsersDefault) {
  Harness h;
  add_account(h, "science");
  add_account(h, "physics", "science");
  add_account(h, "biology", "science");
  add_user(h, 7, "physics");
  add_user(h, 7, "biology");
  EXPECT_EQ(h.job(h.submit(single(), Harness::user(7))).spec.account, "physics");  // the first is the default
  EXPECT_EQ(h.job(h.submit(in("biology"), Harness::user(7))).spec.account, "biology");
  h.ask_for<Ok>(MemberActionRequest{false, {"biology", "user7", 1, true, {}}});
  EXPECT_EQ(h.job(h.submit(single(), Harness::user(7))).spec.account, "biology");
  EXPECT_EQ(h.ask_refused(SubmitRequest{{in("art")}, 0, false}, Harness::user(7)).message,
            "there is no account 'art'; there are: biology, physics, science");
  EXPECT_EQ(h.ask_refused(SubmitRequest{{in("science")}, 0, false}, Harness::user(7)).message,
            "user user7 is not in account 'science'");
  EXPECT_EQ(h.ask_refused(SubmitRequest{{single()}, 0, false}, Harness::user(8)).code, ErrorCode::kDenied);
  EXPECT_EQ(h.job(h.submit(single())).spec.account, "");  // an administrator needs none
}

TEST(Accounts, WithoutAccountsNothingChanges) {
  Harness h;
  const JobId id = h.submit(in("whatever"), Harness::user(7));
  EXPECT_EQ(h.job(id).spec.account, "whatever");
  const std::uint64_t before = h.cluster().applied_index();
  h.advance_ms(3'600'000);
  EXPECT_EQ(h.cluster().applied_index(), before);  // nothing is written down about shares
}

TEST(Accounts, TheTreeStaysATree) {
  Harness h;
  add_account(h, "a");
  add_account(h, "b", "a");
  add_account(h, "c", "b");
  EXPECT_EQ(h.ask_refused(AccountActionRequest{false, {"a", "c", 1, "", {}}}).message,
            "account 'a' would be below itself");
  EXPECT_EQ(h.ask_refused(AccountActionRequest{false, {"d", "x", 1, "", {}}}).code, ErrorCode::kNotFound);
  EXPECT_EQ(h.ask_refused(AccountActionRequest{false, {"-x", "", 1, "", {}}}).code, ErrorCode::kInvalid);
  EXPECT_EQ(h.ask_refused(AccountActionRequest{true, {"b", "", 1, "", {}}}).message,
            "account 'b' has account 'c' below it");
  EXPECT_EQ(h.ask_refused(AccountActionRequest{false, {"e", "", 1, "", {}}}, Harness::user(7)).code,
            ErrorCode::kDenied);
  add_user(h, 7, "c");
  EXPECT_EQ(h.ask_refused(AccountActionRequest{true, {"c", "", 1, "", {}}}).message,
            "account 'c' still has user user7");
  const JobId id = h.submit(single(), Harness::user(7));
  EXPECT_EQ(h.ask_refused(MemberActionRequest{true, {"c", "user7", 1, false, {}}}).code, ErrorCode::kConflict);
  h.ask_for<Ok>(CancelRequest{id, std::nullopt});
  h.ask_for<Ok>(MemberActionRequest{true, {"c", "user7", 1, false, {}}});
  h.ask_for<Ok>(AccountActionRequest{true, {"c", "", 1, "", {}}});
}

TEST(Limits, OfWhatRunsAtOnceMakesWaitAndSaysWhy) {
  Harness h;
  h.resend_allowed = true;
  add_account(h, "all", "", 1, limits({{Limit::kCpus, 8'000}}));
  add_account(h, "physics", "all");
  add_account(h, "biology", "all");
  add_user(h, 7, "physics", limits({{Limit::kRunning, 2}}));
  add_user(h, 8, "biology");
  FakeAgent& a = h.join("a", kBig);
  const JobId first = h.submit(array(5), Harness::user(7));
  EXPECT_EQ(h.job(first).counts.live(), 2U);
  EXPECT_EQ(row(h, first).wait_reason, WaitReason::kAccountJobs);
  EXPECT_EQ(row(h, first).reason,
            "user user7 in account physics may have at most 2 jobs that run at once: 2 jobs are there, and this needs "
            "1 job");
  const JobId second = h.submit(array(10), Harness::user(8));
  EXPECT_EQ(h.job(second).counts.live(), 6U);  // with the two of the other account, 8 cpus
  EXPECT_EQ(row(h, second).wait_reason, WaitReason::kAccountResources);
  EXPECT_EQ(row(h, second).reason,
            "account all may have at most 8 cpus at once: 8 cpus are there, and this needs 1 cpu");
  // Whose turn it is does not matter to who may not.
  h.start_all(a);
  h.end(a, {{first, 0}, 1});
  EXPECT_EQ(h.job(first).counts.live() + h.job(second).counts.live(), 8U);
  h.restart();
  FakeAgent back = a;
  FakeAgent& again = h.rejoin(back, kBig);
  h.start_all(again);
  EXPECT_EQ(h.job(first).counts.live() + h.job(second).counts.live(), 8U);
  // More is allowed: more runs.
  h.ask_for<Ok>(AccountActionRequest{false, {"all", "", 1, "", {}}});
  EXPECT_EQ(h.job(first).counts.live(), 2U);
  EXPECT_EQ(h.job(second).counts.of(PodState::kPending), 0U);
}

TEST(Limits, AGangCountsAsOneJobAndAsAllItsCpus) {
  Harness h;
  h.resend_allowed = true;
  add_account(h, "physics");
  add_user(h, 7, "physics", limits({{Limit::kRunning, 1}, {Limit::kCpus, 6'000}}));
  FakeAgent& a = h.join("a", kBig);
  const JobId first = h.submit(gang(4), Harness::user(7));
  EXPECT_EQ(h.job(first).counts.live(), 4U);
  const JobId second = h.submit(gang(2), Harness::user(7));
  EXPECT_EQ(row(h, second).wait_reason, WaitReason::kAccountJobs);
  h.start_all(a);
  for (std::uint32_t rank = 0; rank < 4; ++rank) {
    EXPECT_EQ(h.job(second).counts.live(), 0U);
    h.end(a, {{first, rank}, 1});
  }
  EXPECT_EQ(h.job(second).counts.live(), 2U);
  EXPECT_EQ(h.ask_refused(SubmitRequest{{gang(7)}, 0, false}, Harness::user(7)).message,
            "user user7 in account physics may have at most 6 cpus at once, and this has 7 cpus");
}

TEST(Limits, OfOneJobRefuseItOrMakeItWait) {
  Harness h;
  h.join("a", kBig);
  add_account(h, "physics", "", 1, limits({{Limit::kJobCpus, 4'000}, {Limit::kJobTime, 3'600'000}}));
  add_account(h, "patient", "", 1, limits({{Limit::kJobCpus, 4'000}}, true));
  add_user(h, 7, "physics");
  add_user(h, 8, "physics", limits({{Limit::kJobCpus, 16'000}}));  // the nearer one holds
  add_user(h, 9, "patient");
  const Error refused = h.ask_refused(SubmitRequest{{single(8'000)}, 0, false}, Harness::user(7));
  EXPECT_EQ(refused.field, "account");
  EXPECT_EQ(refused.message, "account physics may have at most 4 cpus for one job, and this one wants 8 cpus");
  EXPECT_EQ(h.state_of(h.submit(single(8'000), Harness::user(8))), PodState::kBound);
  JobSpec longer = single();
  longer.time_limit_ms = 7'200'000;
  EXPECT_EQ(h.ask_refused(SubmitRequest{{longer}, 0, false}, Harness::user(7)).message,
            "account physics may have at most 1h00m for one job, and this one wants 2h00m");
  EXPECT_EQ(h.job(h.submit(single(), Harness::user(7))).spec.time_limit_ms, 3'600'000);  // who asks for none gets it
  const JobId waits = h.submit(single(8'000), Harness::user(9));
  EXPECT_EQ(h.state_of(waits), PodState::kPending);
  EXPECT_EQ(row(h, waits).wait_reason, WaitReason::kAccountResources);
  h.ask_for<Ok>(AccountActionRequest{false, {"patient", "", 1, "", {}}});
  EXPECT_EQ(h.state_of(waits), PodState::kBound);
}

TEST(Limits, OfHowManyThereAreRefuse) {
  Harness h;
  add_account(h, "physics");
  add_user(h, 7, "physics", limits({{Limit::kJobs, 5}}));
  const JobId first = h.submit(array(4), Harness::user(7));
  EXPECT_EQ(
      h.ask_refused(SubmitRequest{{single(), single()}, 0, false}, Harness::user(7)).message,
      "user user7 in account physics may have at most 5 jobs that wait or run at once: 5 jobs are there, and this "
      "needs 1 job (job 2 of the request)");
  h.submit(single(), Harness::user(7));
  EXPECT_EQ(h.ask_refused(SubmitRequest{{single()}, 0, false}, Harness::user(7)).code, ErrorCode::kDenied);
  h.ask_for<Ok>(CancelRequest{first, IndexSet::dense(2)});
  h.submit(array(2), Harness::user(7));
}

TEST(Qos, HasLimitsOfItsOwnAndOfEachUser) {
  Harness h;
  h.join("a", kBig);
  Qos night;
  night.name = "night";
  night.priority = 5;
  night.limits = limits({{Limit::kCpus, 5'000}});
  night.user_limits = limits({{Limit::kRunning, 3}});
  night.users = {"user8", "user7"};
  h.ask_for<Ok>(QosActionRequest{false, night});
  JobSpec spec = array(9);
  spec.qos = "night";
  EXPECT_EQ(h.ask_refused(SubmitRequest{{spec}, 0, false}, Harness::user(9)).message,
            "quality of service 'night' is not for user user9 without an account");
  const JobId first = h.submit(spec, Harness::user(7));
  const JobId second = h.submit(spec, Harness::user(8));
  EXPECT_EQ(h.job(first).counts.live(), 3U);
  EXPECT_EQ(h.job(second).counts.live(), 2U);
  EXPECT_EQ(row(h, first).wait_reason, WaitReason::kQosResources);
  EXPECT_EQ(row(h, second).wait_reason, WaitReason::kQosResources);
  spec.qos = "day";
  EXPECT_EQ(h.ask_refused(SubmitRequest{{spec}, 0, false}, Harness::user(7)).message,
            "there is no quality of service 'day'; there are: night");
  EXPECT_EQ(h.ask_refused(QosActionRequest{true, night}).code, ErrorCode::kConflict);
  // Moved to no quality at all, it is under none of its limits.
  JobUpdateRequest update;
  update.job = second;
  update.qos = "normal";
  EXPECT_EQ(h.ask_refused(update).code, ErrorCode::kConflict);  // some of it runs
  const JobId third = h.submit(
      [&] {
        JobSpec more = single();
        more.qos = "night";
        return more;
      }(),
      Harness::user(8));
  EXPECT_EQ(h.state_of(third), PodState::kPending);
  update.job = third;
  h.ask_for<Ok>(update, Harness::user(8));
  EXPECT_EQ(h.state_of(third), PodState::kBound);
  EXPECT_EQ(row(h, third).qos, "");
}

TEST(Qos, ItsPriorityCountsForItsJobs) {
  Harness h;
  Qos urgent;
  urgent.name = "urgent";
  urgent.priority = 10;
  h.ask_for<Ok>(QosActionRequest{false, urgent});
  const JobId plain = h.submit(single(4000));
  JobSpec spec = single(4000);
  spec.qos = "urgent";
  const JobId first = h.submit(spec);
  h.join("a", {4000, 8192, 0});
  EXPECT_EQ(h.state_of(first), PodState::kBound);
  EXPECT_EQ(h.state_of(plain), PodState::kPending);
  const auto page = h.ask_for<PriorityPage>(PriorityRequest{});
  ASSERT_EQ(page.rows.size(), 1U);
  EXPECT_EQ(page.rows[0].job, plain);
  EXPECT_TRUE(page.rows[0].waits);
}

TEST(Shares, WhoUsedLessOfHisShareIsNext) {
  CoreOptions options;
  options.shares.head_start = 86'400'000'000;
  Harness h(options);
  add_account(h, "physics", "", 3);
  add_account(h, "biology", "", 1);
  add_user(h, 7, "physics");
  add_user(h, 8, "biology");
  FakeAgent& a = h.join("a", {4000, 8192, 0});
  const JobId run = h.submit(single(4000), Harness::user(7));
  h.start_all(a);
  const JobId more = h.submit(single(4000), Harness::user(7));
  h.advance_ms(1'000);
  const JobId other = h.submit(single(4000), Harness::user(8));
  h.advance_ms(600'000);
  h.end(a, {{run, 0}, 1});
  EXPECT_EQ(h.state_of(other), PodState::kBound);  // it came later, but its account has used nothing
  EXPECT_EQ(h.state_of(more), PodState::kPending);
  const auto page = h.ask_for<AccountPage>(ListAccountsRequest{});
  EXPECT_EQ(page.head_start_ms, 86'400'000);
  // 601 s of 4 cpus, of which little is forgotten in 10 minutes with a half-life of a week.
  EXPECT_NEAR(share_of(page, "physics", "user7").cpu_seconds, 601 * 4, 2);
  EXPECT_DOUBLE_EQ(share_of(page, "physics").share, 0.75);
  EXPECT_DOUBLE_EQ(share_of(page, "biology", "user8").factor, 1);
  EXPECT_DOUBLE_EQ(share_of(page, "physics", "user7").factor, 0.5);
  const auto rows = h.ask_for<PriorityPage>(PriorityRequest{{more}, {}, 10}).rows;
  ASSERT_EQ(rows.size(), 1U);
  EXPECT_EQ(rows[0].head_start_ms, 43'200'000);
  EXPECT_EQ(rows[0].waited_ms, (h.now() - h.job(more).submitted_at) / 1000);
}

// What was used survives the server, whether it was written down before or not.
TEST(Shares, UsageIsKept) {
  CoreOptions options;
  options.shares.half_life = 3'600'000'000;
  Harness h(options);
  h.resend_allowed = true;
  add_account(h, "physics");
  add_user(h, 7, "physics");
  FakeAgent* a = &h.join("a", {4000, 8192, 0});
  const auto usage = [&] {
    return share_of(h.ask_for<AccountPage>(ListAccountsRequest{}), "physics", "user7").cpu_seconds;
  };
  // At an even rate r the usage nears r * half-life / ln 2.
  const auto expected = [&](double before, double cpus, double seconds) {
    const double left = std::exp2(-seconds / 3600);
    return before * left + cpus * (1 - left) * 3600 / std::log(2.0);
  };
  const JobId first = h.submit(single(2000), Harness::user(7));
  h.start_all(*a);
  double known = 0;
  for (int i = 0; i < 100; ++i) h.advance_ms(60'000);
  known = expected(known, 2, 6000);
  EXPECT_NEAR(usage(), known, 2);
  FakeAgent back = *a;
  h.restart();
  a = &h.rejoin(back);
  EXPECT_NEAR(usage(), known, 2);
  h.end(*a, {{first, 0}, 1});
  h.advance_ms(100'000);  // not long enough to be written down
  known = expected(known, 0, 100);
  back = *a;
  h.restart();
  EXPECT_NEAR(usage(), known, 2);
  h.advance_ms(3'600'000);
  EXPECT_NEAR(usage(), known / 2, 2);
}

// Two accounts with shares 3:1 and endless work, from any start: what they use comes to 3:1.
TEST(Shares, ConvergeToTheirRatio) {
  for (const double start : {0.0, 0.1, 10.0}) {
    CoreOptions options;
    options.shares.half_life = 6LL * 3'600'000'000;
    options.ended_pods_kept = 50;  // what has ended is in nobody's way
    options.ended_jobs_kept_min = 10;
    Harness h(options);
    add_account(h, "physics", "", 3);
    add_account(h, "biology", "", 1);
    add_user(h, 7, "physics");
    add_user(h, 8, "biology");
    FakeAgent& a = h.join("a", {8000, 8192, 0});
    std::map<std::string, double> used;
    const auto work = [&](TimeUs until, bool both) {
      std::map<PodRef, TimeUs> ends;
      while (h.now() < until && !testing::Test::HasFatalFailure()) {
        for (const std::uint32_t uid : {7U, 8U}) {
          if (!both && uid == 8) continue;
          std::uint32_t waiting = 0;
          for (const auto& [id, job] : h.cluster().jobs()) {
            if (job->owner.uid == uid) waiting += job->counts.of(PodState::kPending);
          }
          for (; waiting < 8; ++waiting) h.submit(single(), Harness::user(uid));
        }
        h.start_all(a);
        for (const auto& [ref, at] : a.running)
          ends.try_emplace(ref, at + 600'000'000LL + ref.pod.job.value % 97 * 1'000'000LL);
        TimeUs next = until;
        PodRef first{};
        for (const auto& [ref, at] : ends) {
          if (at < next) std::tie(next, first) = std::pair{at, ref};
        }
        if (next > h.now()) h.advance_ms((next - h.now()) / 1000);
        if (first == PodRef{}) break;
        used[h.job(first.pod.job).spec.account] += static_cast<double>(h.now() - a.running[first]);
        ends.erase(first);
        h.end(a, first);
      }
      for (const auto& [ref, at] : ends) h.end(a, ref);
    };
    if (start > 0) work(h.now() + static_cast<TimeUs>(start * 3'600'000'000), false);
    used.clear();
    work(h.now() + 30LL * 3'600'000'000, true);  // five half-lives: what was before counts little
    used.clear();
    work(h.now() + 40LL * 3'600'000'000, true);
    EXPECT_NEAR(used["physics"] / (used["physics"] + used["biology"]), 0.75, 0.015) << "from a start of " << start;
  }
}

// The tree: all of the account that used less of its share come before all of the other's, whatever they used.
TEST(Shares, AreJudgedFromTheTop) {
  Harness h;
  add_account(h, "a");
  add_account(h, "b");
  for (const std::uint32_t uid : {1U, 2U}) add_user(h, uid, "a");
  for (const std::uint32_t uid : {3U, 4U}) add_user(h, uid, "b");
  FakeAgent& node = h.join("n", kBig);
  // a: 10 cpus, all by user1. b: 6 cpus, of user3 5 and of user4 1.
  h.submit(single(10'000), Harness::user(1));
  h.submit(single(5'000), Harness::user(3));
  h.submit(single(1'000), Harness::user(4));
  h.start_all(node);
  h.advance_ms(100'000);
  const auto page = h.ask_for<AccountPage>(ListAccountsRequest{});
  EXPECT_DOUBLE_EQ(share_of(page, "b", "user4").factor, 1.0);
  EXPECT_DOUBLE_EQ(share_of(page, "b", "user3").factor, 0.75);
  EXPECT_DOUBLE_EQ(share_of(page, "a", "user2").factor, 0.5);  // used nothing, but her account did
  EXPECT_DOUBLE_EQ(share_of(page, "a", "user1").factor, 0.25);
}

}  // namespace
}  // namespace berth::scheduler
