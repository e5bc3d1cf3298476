// A command run inside of a pod: how it is asked for, and the parts of its stream.
#include "api/wire/codec_internal.h"

namespace berth::wire::codec {

namespace {

fb::Offset<fbs::ExecRequest> exec_table(Builder& b, const state::ExecRequest& r) {
  const auto argv = texts(b, r.argv);
  const auto env = texts(b, r.env);
  return fbs::CreateExecRequest(b, r.job.value, r.index, argv, env, r.input, r.terminal, r.rows, r.columns);
}

}  // namespace

Encoded put(Builder& b, const state::ExecRequest& r) { return {fbs::Body::ExecRequest, exec_table(b, r).Union()}; }

state::ExecRequest exec_request(Reader& in, const fbs::ExecRequest& t) {
  state::ExecRequest out;
  out.job = state::JobId{t.job()};
  if (t.index()) out.index = *t.index();
  out.argv = in.texts(t.argv());
  out.env = in.texts(t.env());
  out.input = t.input();
  out.terminal = t.terminal();
  out.rows = t.rows();
  out.columns = t.columns();
  return out;
}

Encoded encode(Builder& b, const state::ExecStart& m) {
  const auto request = exec_table(b, m.request);
  const fbs::PodRef ref = pod_ref(m.ref);
  return {fbs::Body::ExecStart, fbs::CreateExecStart(b, m.token, &ref, request).Union()};
}

Encoded encode(Builder& b, const state::ExecPart& m) {
  const auto content = bytes(b, m.bytes);
  return {fbs::Body::ExecPart,
          fbs::CreateExecPart(b, m.token, static_cast<std::uint8_t>(m.kind), content, m.count, m.columns).Union()};
}

bool decode_exec(Reader& in, fbs::Body type, const void* table, Body& out) {
  if (type == fbs::Body::ExecStart) {
    const auto& t = as<fbs::ExecStart>(table);
    state::ExecStart start;
    if (t.ref() == nullptr || t.request() == nullptr) {
      in.refuse();
    } else {
      start = {t.token(), pod_ref(*t.ref()), exec_request(in, *t.request())};
    }
    out = std::move(start);
  } else if (type == fbs::Body::ExecPart) {
    const auto& t = as<fbs::ExecPart>(table);
    state::ExecPart part;
    part.token = t.token();
    part.kind = in.one_of(t.kind(), state::ExecPart::Kind::kEnd);
    part.bytes = in.bytes(t.bytes());
    part.count = t.count();
    part.columns = t.columns();
    out = std::move(part);
  } else {
    return false;
  }
  return true;
}

}  // namespace berth::wire::codec
