// ServiceDraft: a service as a user describes it, by options or in a file, before it becomes what is asked of the
// server. What its replicas run is a JobDraft; the rest is one table of fields, service_fields(), which drives the
// options of `berth service create` and `update`, and the files of `berth deploy`.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "state/requests.h"
#include "tools/cli/job_draft.h"

namespace berth::tools {

struct ServiceDraft {
  ServiceDraft() { service.space = state::kDefaultSpace; }
  JobDraft job;                               // its name and time limit do not count
  state::Service service;                     // without revisions
  std::optional<state::NetworkMode> network;  // absent: its own for containers, the node's for processes
  std::optional<state::Probe> start, ready, live;
  state::Container container;
};

struct ServiceField {
  const char* name;    // in a file, and in error messages
  const char* option;  // "-p,--publish"
  const char* value;
  FieldShape shape;  // kText, kFlag or kList
  const char* group;
  const char* text;
  const char* accepted;
  state::Status (*set)(ServiceDraft& draft, std::string_view value, std::string_view field);
};
const std::vector<ServiceField>& service_fields();
// The fields of a job that its replicas have, too: not its shape, its times, nor what it waits for.
bool is_service_job_field(const JobField& field);

// "http:8080/healthz", "tcp:5432", "cmd:pg_isready -q", each with
// ",every=2s,timeout=1s,failures=3,successes=1,delay=0s"
state::Result<state::Probe> parse_probe(std::string_view text, std::string_view field);
// The same question, until it is answered well once: for so long it may fail.
state::Probe start_probe_of(state::Probe probe, std::int64_t within_ms);
// "8080:80", "80", "53:53/udp", "web=8080:80"
state::Result<state::ServicePort> parse_publish(std::string_view text, std::string_view field);

// What is asked of the server; an error's field is a field's name, or "".
state::Result<state::ServicePutRequest> build_service(const ServiceDraft& draft, const Surroundings& surroundings);
// The draft that would have made this service: for changes to some of it.
state::Result<ServiceDraft> draft_of(const state::ServiceDetail& detail);

}  // namespace berth::tools
