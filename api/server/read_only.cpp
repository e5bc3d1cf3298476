#include "api/server/read_only.h"

#include <string>

namespace berth::server {

using namespace state;

namespace {

template <class T, class... Kinds>
constexpr bool is_one_of = (std::is_same_v<T, Kinds> || ...);

constexpr std::uint32_t kSuspendedRetryMs = 5'000;

}  // namespace

bool only_reads(const ClientRequest& request) {
  return std::visit(
      []<class T>(const T&) {
        // Not WatchJobs: what it pushes must wait for the disk as the changes do that it tells of.
        return is_one_of<T, ListJobsRequest, ListPodsRequest, ListNodesRequest, ShowJobRequest, ExplainRequest,
                         ListQueuesRequest, ListLicencesRequest, ListAccountsRequest, PriorityRequest, TokenListRequest,
                         ServerInfoRequest, ReadLogRequest, ListServicesRequest, ShowServiceRequest, ExecRequest>;
      },
      request);
}

Error suspended_error(const std::string& why) { return Error{ErrorCode::kUnavailable, "", why, kSuspendedRetryMs}; }

std::optional<Error> refuse_unless_durable(const ClientRequest& request, JobId last_durable, const std::string& why) {
  const JobId job = std::visit(
      []<class T>(const T& body) {
        if constexpr (is_one_of<T, ListPodsRequest, ShowJobRequest, ExplainRequest, ReadLogRequest, ExecRequest>) {
          return body.job;
        } else {
          return JobId{};
        }
      },
      request);
  if (job <= last_durable) return std::nullopt;
  return Error{ErrorCode::kUnavailable, "job",
               "there is no job " + std::to_string(job.value) + " that is durable, and " + why, kSuspendedRetryMs};
}

void hide_undurable(ServerReply& reply, JobId last_durable) {
  if (auto* page = std::get_if<JobPage>(&reply)) {
    std::erase_if(page->rows, [&](const JobRow& row) { return row.id > last_durable; });
    if (page->next >= last_durable) page->next = {};  // behind it there are only such
  } else if (auto* places = std::get_if<PriorityPage>(&reply)) {
    std::erase_if(places->rows, [&](const PriorityRow& row) { return row.job > last_durable; });
    if (places->next >= last_durable) places->next = {};
  }
}

bool answers_a_read(const ServerReply& reply) {
  return std::visit(
      []<class T>(const T&) {
        return is_one_of<T, JobPage, PodPage, NodePage, JobDetail, Explanation, QueuePage, LicencePage, AccountPage,
                         PriorityPage, TokenPage, ServerInfo, LogChunk, ServicePage>;
      },
      reply);
}

}  // namespace berth::server
