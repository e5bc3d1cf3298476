// SharedStore: a journal that several servers have in common. One of them leads, and it alone appends; the others
// follow with a copy of the cluster that is warm, and one of them takes over when the leader is silent for longer than
// its lease. That a deposed leader commits nothing more is the store's promise, whatever clocks do.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "state/requests.h"
#include "state/result.h"
#include "state/store/store.h"

namespace berth::store {

struct SharedMember {   // this server
  std::string id;       // what tells it from the others, for good
  std::string name;     // of its machine, for people
  std::string address;  // where clients and agents reach it
  std::string version;
  std::string authority;  // the fingerprint of its certificate authority: one for all servers of a cluster
};

class SharedStore {
 public:
  struct Handlers {  // at most one call of each, on a thread of the store
    // This server leads: the cluster up to the end of the journal, and what appends to that.
    std::function<void(Opened)> elected;
    // It cannot go on. deposed(): another server leads; else the error says what is wrong for good.
    std::function<void(state::Error)> ended;
    // It changed: why nothing can be read or written now, "" when it can again.
    std::function<void(std::string)> trouble;
  };
  virtual ~SharedStore() = default;  // gives the lead back, if it has it

  // The fingerprint of the cluster's authority, "" if the store is new. Asks once.
  virtual state::Result<std::string> authority() = 0;
  virtual void start(SharedMember me, Handlers handlers) = 0;
  // Any thread.
  virtual bool deposed() const = 0;
  virtual std::string leader() const = 0;  // its address; "" if there is none
  virtual void tell(state::StoreInfo& info) const = 0;
};

}  // namespace berth::store
