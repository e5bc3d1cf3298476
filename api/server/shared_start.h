// What a server needs before it can be one among several: a data directory that is its own, a name that tells it from
// the others, and the cluster's certificate authority.
#pragma once

#include <string>

#include "state/result.h"
#include "state/store/shared_store.h"

namespace berth::server {

// Locks the directory for as long as the process lives, and waits for the store to answer once. Fails where the cluster
// has an authority, and this server has none: it would make another.
state::Result<store::SharedMember> prepare_member(const std::string& data_directory, store::SharedStore& store);

}  // namespace berth::server
