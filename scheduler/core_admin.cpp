// What administrators do: nodes, queues, tokens.
#include <algorithm>

#include "scheduler/core_impl.h"
#include "state/condition.h"

namespace berth::scheduler {

using namespace state;

bool Core::Impl::require_admin(const ClientCommand& command, const char* what) {
  if (command.caller.admin) return true;
  refuse(command.reply_to, ErrorCode::kDenied, "", std::string("only an administrator may ") + what);
  return false;
}

void Core::Impl::on_request(ClientCommand& command, NodeActionRequest& request) {
  if (!require_admin(command, "change a node")) return;
  const Node* node = cluster_.node_by_name(request.node);
  if (node == nullptr)
    return refuse(command.reply_to, ErrorCode::kNotFound, "node", "there is no node '" + request.node + "'");
  const NodeId id = node->id;
  switch (request.action) {
    case NodeActionRequest::Action::kDrain:
      emit(NodeStateChanged{id, NodeState::kDrained, request.reason});
      engine_.set_in_service(id, false);
      dispatcher_.nodes_changed();
      break;
    case NodeActionRequest::Action::kResume:
      if (node->state == NodeState::kLost) {
        return refuse(command.reply_to, ErrorCode::kConflict, "node",
                      "node '" + request.node + "' is lost; it resumes by itself when its agent returns");
      }
      emit(NodeStateChanged{id, NodeState::kUp, ""});
      engine_.set_in_service(id, true);
      dispatcher_.nodes_changed();
      dispatcher_.room_made(id);
      break;
    case NodeActionRequest::Action::kRemove:
      if (session_of(id) != 0) {
        return refuse(command.reply_to, ErrorCode::kConflict, "node",
                      "node '" + request.node + "' is connected; stop its agent first");
      }
      if (!cluster_.pods_of(id).empty()) {
        return refuse(command.reply_to, ErrorCode::kConflict, "node",
                      "node '" + request.node + "' still has pods; they are given up when it is lost");
      }
      set_lost_deadline(id, 0);
      runtime_.erase(id);
      dispatcher_.nodes_changed();
      engine_.remove_node(id);
      if (node->subnet != 0) {
        network_.give_subnet(node->subnet);
        network_.peer_changed(id);
      }
      emit(NodeRemoved{id});
      break;
  }
  reply(command.reply_to, Ok{});
}

void Core::Impl::requeue_all_waiting() {
  find_preemptable();
  dispatcher_.forget_all();
  for (const auto& [id, job] : cluster_.jobs()) {
    if (!job->pending.empty()) enqueue(*job);
  }
  if (tenants_.active()) dispatcher_.judge_shares(now_);
}

void Core::Impl::on_request(ClientCommand& command, QueueActionRequest& request) {
  if (!require_admin(command, "change a queue")) return;
  const std::string& name = request.queue.name;
  if (name.empty() || name.size() > kMaxNameBytes || name.find_first_of(" \t\n/") != std::string::npos) {
    return refuse(command.reply_to, ErrorCode::kInvalid, "queue",
                  "a queue's name is 1 to 255 bytes without blanks or slashes");
  }
  if (!request.remove) {
    if (request.queue.time_limit_ms < 0) {
      return refuse(command.reply_to, ErrorCode::kInvalid, "time", "the time limit must not be negative");
    }
    Queue& queue = request.queue;
    if (queue.time_default_ms < 0 || (queue.time_limit_ms != 0 && queue.time_default_ms > queue.time_limit_ms)) {
      return refuse(command.reply_to, ErrorCode::kInvalid, "default-time",
                    "the default time must be from 0 to the time limit");
    }
    if (auto where = Condition::parse(queue.where, "nodes"); !queue.where.empty() && !where) {
      return reply(command.reply_to, std::move(where.error()));
    } else if (!queue.where.empty() && !where->parts().empty()) {
      return refuse(command.reply_to, ErrorCode::kInvalid, "nodes", "a queue's nodes are no choice with [ ]");
    }
    if (queue.tier < -kTierMax || queue.tier > kTierMax || queue.preempt == Preempt::kAsQueue) {
      return refuse(command.reply_to, ErrorCode::kInvalid, "tier", "the tier is from -1000 to 1000");
    }
    for (auto* names : {&queue.users, &queue.accounts}) {
      std::sort(names->begin(), names->end());
      names->erase(std::unique(names->begin(), names->end()), names->end());
    }
    emit(QueueSet{queue});
  } else {
    if (name == "default")
      return refuse(command.reply_to, ErrorCode::kConflict, "queue", "the queue 'default' cannot be removed");
    if (!cluster_.queues().contains(name)) {
      return refuse(command.reply_to, ErrorCode::kNotFound, "queue", "there is no queue '" + name + "'");
    }
    for (const auto& [id, job] : cluster_.jobs()) {
      if (job->active() && job->spec.queue == name) {
        return refuse(command.reply_to, ErrorCode::kConflict, "queue",
                      "queue '" + name + "' still has jobs (job " + std::to_string(id.value) + " is one)");
      }
    }
    emit(QueueRemoved{name});
  }
  requeue_all_waiting();
  reply(command.reply_to, Ok{});
}

void Core::Impl::on_request(ClientCommand& command, ListQueuesRequest&) {
  QueuePage page;
  for (const auto& [name, queue] : cluster_.queues()) page.queues.push_back(queue);
  reply(command.reply_to, std::move(page));
}

void Core::Impl::on_request(ClientCommand& command, LicenceActionRequest& request) {
  if (!require_admin(command, "change a licence")) return;
  const std::string& name = request.licence.name;
  if (!is_countable_name(name)) {
    return refuse(command.reply_to, ErrorCode::kInvalid, "licence",
                  "a licence's name is 1 to 64 of the characters A-Z a-z 0-9 . _ : -, a letter first");
  }
  if (request.remove) {
    if (!cluster_.licences().contains(name)) {
      return refuse(command.reply_to, ErrorCode::kNotFound, "licence", "there is no licence '" + name + "'");
    }
    for (const auto& [id, job] : cluster_.jobs()) {
      if (job->active() && count_of(job->spec.request.licences, name) != 0) {
        return refuse(command.reply_to, ErrorCode::kConflict, "licence",
                      "licence '" + name + "' is wanted by jobs (job " + std::to_string(id.value) + " is one)");
      }
    }
    dispatcher_.licences().remove(name);
    emit(LicenceRemoved{name});
  } else {
    if (request.licence.total > kCountMax) {
      return refuse(command.reply_to, ErrorCode::kInvalid, "licence", "that many licences are beyond what is counted");
    }
    dispatcher_.licences().set(name, request.licence.total);
    emit(LicenceSet{request.licence});
  }
  reply(command.reply_to, Ok{});
}

void Core::Impl::on_request(ClientCommand& command, ListLicencesRequest&) {
  LicencePage page;
  for (const auto& [name, licence] : cluster_.licences()) {
    page.licences.push_back({licence, dispatcher_.licences().find(name).used});
  }
  reply(command.reply_to, std::move(page));
}

void Core::Impl::on_request(ClientCommand& command, TokenCreateRequest& request) {
  if (!require_admin(command, "make a token")) return;
  if (request.id.empty() || request.secret_hash.empty()) {
    return refuse(command.reply_to, ErrorCode::kInternal, "", "the token request came without its secret's hash");
  }
  if (request.ttl_ms <= 0)
    return refuse(command.reply_to, ErrorCode::kInvalid, "ttl", "a token must live for some time");
  if (request.role == TokenRole::kUser && request.user.empty()) {
    return refuse(command.reply_to, ErrorCode::kInvalid, "user", "a user's token needs the user's name");
  }
  if (request.replace) {
    std::vector<std::string> old;
    for (const auto& [id, token] : cluster_.tokens()) {
      if (token.role == request.role && token.user == request.user) old.push_back(id);
    }
    for (std::string& id : old) emit(TokenRemoved{std::move(id)});
  }
  const TimeUs expires_at = now_ + request.ttl_ms * 1000;
  emit(TokenAdded{{request.id, request.secret_hash, request.role, request.user, now_, expires_at}});
  reply(command.reply_to, TokenCreated{"", expires_at});
}

void Core::Impl::on_request(ClientCommand& command, TokenListRequest&) {
  if (!require_admin(command, "list tokens")) return;
  TokenPage page;
  for (const auto& [id, token] : cluster_.tokens()) {
    page.tokens.push_back(token);
    page.tokens.back().secret_hash.clear();
  }
  reply(command.reply_to, std::move(page));
}

void Core::Impl::on_request(ClientCommand& command, TokenRevokeRequest& request) {
  if (!require_admin(command, "revoke a token")) return;
  if (!cluster_.tokens().contains(request.id)) {
    return refuse(command.reply_to, ErrorCode::kNotFound, "token", "there is no token '" + request.id + "'");
  }
  emit(TokenRemoved{request.id});
  reply(command.reply_to, Ok{});
}

}  // namespace berth::scheduler
