// What can be served while the store takes nothing (a full disk, say): requests that change nothing, from the core's
// state. That state is ahead of the store by what nobody was promised; the jobs in it that are not durable stay hidden,
// so that a listing is never taken for the acknowledgement that a submission did not get.
#pragma once

#include <optional>

#include "state/requests.h"

namespace berth::server {

bool only_reads(const state::ClientRequest& request);
// For requests that cannot be served now; `why` is what the store says.
state::Error suspended_error(const std::string& why);
// An error if the request names a job that is not durable. `last_durable` is the last job that is.
std::optional<state::Error> refuse_unless_durable(const state::ClientRequest& request, state::JobId last_durable,
                                                  const std::string& why);
void hide_undurable(state::ServerReply& reply, state::JobId last_durable);
// Whether this is what a request that only reads is answered with.
bool answers_a_read(const state::ServerReply& reply);

}  // namespace berth::server
