// What is asked of a node itself, from the client to the server and on to the agent, and back.
#include "api/wire/codec_internal.h"

namespace berth::wire::codec {

namespace {

fb::Offset<fbs::ImageRequest> image_request(Builder& b, const state::ImageRequest& r) {
  const auto node = text(b, r.node);
  const auto image = text(b, r.image);
  const auto auth_file = text(b, r.auth_file);
  return fbs::CreateImageRequest(b, static_cast<std::uint8_t>(r.action), node, image, static_cast<std::uint8_t>(r.pull),
                                 auth_file, r.unused_ms, r.keep_mib);
}

state::ImageRequest image_request(Reader& in, const fbs::ImageRequest& t) {
  state::ImageRequest out;
  out.action = in.one_of(t.action(), state::ImageRequest::Action::kPrune);
  out.node = in.text(t.node());
  out.image = in.text(t.image());
  out.pull = in.one_of(t.pull(), state::PullPolicy::kNever);
  out.auth_file = in.text(t.auth_file());
  out.unused_ms = t.unused_ms();
  out.keep_mib = t.keep_mib();
  return out;
}

fb::Offset<fbs::TopRequest> top_request(Builder& b, const state::TopRequest& r) {
  return fbs::CreateTopRequest(b, text(b, r.node), r.job.value);
}

state::TopRequest top_request(Reader& in, const fbs::TopRequest& t) {
  return {in.text(t.node()), state::JobId{t.job()}};
}

fb::Offset<fbs::ImagePage> image_page(Builder& b, const state::ImagePage& r) {
  std::vector<fb::Offset<fbs::ImageRow>> rows;
  rows.reserve(r.rows.size());
  for (const state::ImageRow& row : r.rows) {
    const auto names = text(b, row.names);
    const auto digest = text(b, row.digest);
    const auto state = text(b, row.state);
    rows.push_back(fbs::CreateImageRow(b, names, digest, row.bytes, row.made_at, row.used_at, row.pods, state));
  }
  return fbs::CreateImagePage(b, b.CreateVector(rows));
}

state::ImagePage image_page(Reader& in, const fbs::ImagePage& t) {
  return {in.list<state::ImageRow>(t.rows(), [&in](const fbs::ImageRow* row) {
    return state::ImageRow{in.text(row->names()), in.text(row->digest()), row->bytes(), row->made_at(), row->used_at(),
                           row->pods(),           in.text(row->state())};
  })};
}

fb::Offset<fbs::TopPage> top_page(Builder& b, const state::TopPage& r) {
  std::vector<fb::Offset<fbs::PodTop>> pods;
  pods.reserve(r.pods.size());
  for (const state::PodTop& pod : r.pods) {
    const fbs::PodRef ref = pod_ref(pod.ref);
    const auto job_name = text(b, pod.job_name);
    const auto user = text(b, pod.user);
    const fbs::Resources given = resources(pod.resources);
    const fbs::PodUse use = pod_use(pod.use);
    pods.push_back(fbs::CreatePodTop(b, &ref, pod.index, pod.step_of.value, pod.step, job_name, user, pod.started_at,
                                     &given, &use, pod.mem_bytes, pod.mem_peak_bytes, pod.processes));
  }
  return fbs::CreateTopPage(b, r.at, r.cpus, r.busy_us, r.mem_bytes, r.mem_used_bytes, b.CreateVector(pods));
}

state::TopPage top_page(Reader& in, const fbs::TopPage& t) {
  state::TopPage out;
  out.at = t.at();
  out.cpus = t.cpus();
  out.busy_us = t.busy_us();
  out.mem_bytes = t.mem_bytes();
  out.mem_used_bytes = t.mem_used_bytes();
  out.pods = in.list<state::PodTop>(t.pods(), [&in](const fbs::PodTop* row) {
    state::PodTop pod;
    if (row->ref() == nullptr) {
      in.refuse();
      return pod;
    }
    pod.ref = pod_ref(*row->ref());
    pod.index = row->index();
    pod.step_of = state::JobId{row->step_of()};
    pod.step = row->step();
    pod.job_name = in.text(row->job_name());
    pod.user = in.text(row->user());
    pod.started_at = row->started_at();
    pod.resources = resources(row->resources());
    pod.use = pod_use(row->use());
    pod.mem_bytes = row->mem_bytes();
    pod.mem_peak_bytes = row->mem_peak_bytes();
    pod.processes = row->processes();
    return pod;
  });
  return out;
}

}  // namespace

Encoded put(Builder& b, const state::ImagePage& r) { return {fbs::Body::ImagePage, image_page(b, r).Union()}; }
Encoded put(Builder& b, const state::TopPage& r) { return {fbs::Body::TopPage, top_page(b, r).Union()}; }

bool get_node_reply(Reader& in, fbs::Body type, const void* table, state::ServerReply& out) {
  if (type == fbs::Body::ImagePage) {
    out = image_page(in, as<fbs::ImagePage>(table));
  } else if (type == fbs::Body::TopPage) {
    out = top_page(in, as<fbs::TopPage>(table));
  } else {
    return false;
  }
  return true;
}

Encoded encode(Builder& b, const state::NodeRequest& request) {
  if (const auto* images = std::get_if<state::ImageRequest>(&request)) {
    return {fbs::Body::ImageRequest, image_request(b, *images).Union()};
  }
  return {fbs::Body::TopRequest, top_request(b, std::get<state::TopRequest>(request)).Union()};
}

Encoded encode(Builder& b, const state::NodeAsk& m) {
  const auto owner = state::convert::owner(b, m.owner);
  fb::Offset<fbs::ImageRequest> images;
  fb::Offset<fbs::TopRequest> top;
  if (const auto* asked = std::get_if<state::ImageRequest>(&m.request)) images = image_request(b, *asked);
  if (const auto* asked = std::get_if<state::TopRequest>(&m.request)) top = top_request(b, *asked);
  return {fbs::Body::NodeAsk, fbs::CreateNodeAsk(b, m.token, owner, m.admin, images, top).Union()};
}

Encoded encode(Builder& b, const state::NodeAnswer& m) {
  fb::Offset<fbs::ImagePage> images;
  fb::Offset<fbs::TopPage> top;
  fb::Offset<fbs::Error> refusal;
  if (const auto* page = std::get_if<state::ImagePage>(&m.body)) images = image_page(b, *page);
  if (const auto* page = std::get_if<state::TopPage>(&m.body)) top = top_page(b, *page);
  if (const auto* e = std::get_if<state::Error>(&m.body)) refusal = error(b, *e);
  return {fbs::Body::NodeAnswer, fbs::CreateNodeAnswer(b, m.token, images, top, refusal).Union()};
}

bool decode_node(Reader& in, fbs::Body type, const void* table, Body& out) {
  switch (type) {
    case fbs::Body::ImageRequest:
      out = state::NodeRequest(image_request(in, as<fbs::ImageRequest>(table)));
      return true;
    case fbs::Body::TopRequest:
      out = state::NodeRequest(top_request(in, as<fbs::TopRequest>(table)));
      return true;
    case fbs::Body::NodeAsk: {
      const auto& t = as<fbs::NodeAsk>(table);
      state::NodeAsk ask{t.token(), owner(in, t.owner()), t.admin(), {}};
      if ((t.images() == nullptr) == (t.top() == nullptr)) {
        in.refuse();
      } else if (t.images() != nullptr) {
        ask.request = image_request(in, *t.images());
      } else {
        ask.request = top_request(in, *t.top());
      }
      out = std::move(ask);
      return true;
    }
    case fbs::Body::NodeAnswer: {
      const auto& t = as<fbs::NodeAnswer>(table);
      state::NodeAnswer answer{t.token(), {}};
      const int parts = (t.images() != nullptr ? 1 : 0) + (t.top() != nullptr ? 1 : 0) + (t.error() != nullptr ? 1 : 0);
      if (parts != 1) {
        in.refuse();
      } else if (t.images() != nullptr) {
        answer.body = image_page(in, *t.images());
      } else if (t.top() != nullptr) {
        answer.body = top_page(in, *t.top());
      } else {
        answer.body = error(in, *t.error());
      }
      out = std::move(answer);
      return true;
    }
    default:
      return false;
  }
}

}  // namespace berth::wire::codec
