// Lead: a term of leading, and what holds a leader to it. Every transaction of a leader is fenced: it is carried out
// only if the leader's key is still the one of its term. That is what keeps the journal right. The lease is for those
// who ask: past it, whoever was elected meanwhile may know more than we do.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "state/etcd/etcd_client.h"
#include "state/etcd/keys.h"

namespace berth::etcd {

std::int64_t boot_us();  // a clock that is never set and goes on while the machine sleeps

struct Lead {
  Lead(std::shared_ptr<EtcdClient> with, const Keys& below, std::string at, std::int64_t term_given,
       std::int64_t lease_given_ms)
      : client(std::move(with)), keys(below), where(std::move(at)), term(term_given), lease_ms(lease_given_ms) {}

  const std::shared_ptr<EtcdClient> client;
  const Keys keys;
  const std::string where;  // the store, for people
  const std::int64_t term;  // the revision of the leader's key
  const std::int64_t lease_ms;
  std::atomic<std::int64_t> sure_until_us{0};  // boot_us()
  std::atomic<bool> deposed{false};

  Condition fence() const { return modified_at(keys.leader, term); }
  // The lease was renewed by something sent at that time. The last third of it is given up, so that the leader has
  // stepped back before anybody else may step forward, though clocks do not run alike.
  void renewed(std::int64_t sent_at_us) { sure_until_us = sent_at_us + lease_ms * 1000 * 2 / 3; }
  state::Status in_charge() const;
  state::Error lost() const;  // somebody else leads
};

}  // namespace berth::etcd
