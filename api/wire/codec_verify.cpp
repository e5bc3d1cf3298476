// Is a frame a sound Message? FlatBuffers' verifier checks every offset, but visits what is shared once for each
// reference: eight million references to one list of eight million strings would keep it busy for days. So lists of
// strings below lists of tables are counted first, and the number of tables is bounded by what an honest frame of that
// size can hold.
#include <array>

#include "api/wire/codec_internal.h"

namespace berth::wire::codec {

namespace {

constexpr fb::uoffset_t kDepthMax = 16;

// Follows one field of a table, checking as little as that needs; null where there is nothing or it is out of bounds
// (which the whole verification then finds).
class Walk {
 public:
  Walk(const std::uint8_t* bytes, std::size_t size)
      : bytes_(bytes), size_(size), verifier_(bytes, size, kDepthMax, static_cast<fb::uoffset_t>(size)) {}

  const fb::Table* root() { return at_table(follow(0)); }
  const fb::Table* table(const fb::Table* from, fb::voffset_t field) { return at_table(target(from, field)); }
  template <class T>
  const T* vector(const fb::Table* from, fb::voffset_t field) {
    const std::uint8_t* at = target(from, field);
    if (at == nullptr || !verifier_.VerifyVectorOrString(at, sizeof(fb::uoffset_t))) return nullptr;
    return reinterpret_cast<const T*>(at);
  }
  const fb::Table* element(const fb::Vector<fb::Offset<fb::Table>>& list, fb::uoffset_t i) {
    return at_table(follow(position(list.Data()) + i * sizeof(fb::uoffset_t)));
  }
  std::uint8_t byte(const fb::Table* from, fb::voffset_t field) {
    const fb::voffset_t slot = from->GetOptionalFieldOffset(field);
    if (slot == 0 || position(from) + slot >= size_) return 0;
    return *(bytes_ + position(from) + slot);
  }

 private:
  std::size_t position(const void* at) const {
    return static_cast<std::size_t>(static_cast<const std::uint8_t*>(at) - bytes_);
  }
  const std::uint8_t* follow(std::size_t slot) {
    const fb::uoffset_t offset = verifier_.VerifyOffset(slot);
    return offset == 0 ? nullptr : bytes_ + slot + offset;
  }
  const std::uint8_t* target(const fb::Table* from, fb::voffset_t field) {
    const fb::voffset_t slot = from->GetOptionalFieldOffset(field);
    return slot == 0 ? nullptr : follow(position(from) + slot);
  }
  const fb::Table* at_table(const std::uint8_t* at) {
    if (at == nullptr || !verifier_.VerifyTableStart(at)) return nullptr;
    verifier_.EndTable();
    return reinterpret_cast<const fb::Table*>(at);
  }

  const std::uint8_t* bytes_;
  std::size_t size_;
  fb::Verifier verifier_;
};

// Where a message keeps lists of strings below a list of tables: list -> [middle ->] strings.
struct Nested {
  fb::voffset_t list = 0, middle = 0;
  std::array<fb::voffset_t, 4> strings{};
};

Nested nested_in(fbs::Body type) {
  switch (type) {
    case fbs::Body::SubmitRequest:
      return {fbs::SubmitRequest::VT_JOBS,
              spec::JobSpec::VT_REQUEST,
              {spec::Request::VT_FEATURES, spec::Request::VT_PREFERS, spec::Request::VT_TOLERATES,
               spec::Request::VT_LABELS}};
    case fbs::Body::NodePage:
      return {fbs::NodePage::VT_ROWS, fbs::NodeRow::VT_INFO, {fbs::NodeInfo::VT_FEATURES, fbs::NodeInfo::VT_TAINTS}};
    case fbs::Body::JobPage:
      return {fbs::JobPage::VT_ROWS, 0, {fbs::JobRow::VT_NODES}};
    case fbs::Body::HistoryPage:
      return {fbs::HistoryPage::VT_ROWS, fbs::HistoryRow::VT_JOB, {fbs::JobRow::VT_NODES}};
    case fbs::Body::QueuePage:
      return {fbs::QueuePage::VT_QUEUES, 0, {fbs::Queue::VT_USERS, fbs::Queue::VT_ACCOUNTS}};
    case fbs::Body::StartPods:
      return {fbs::StartPods::VT_ORDERS, 0, {fbs::StartOrder::VT_PEERS}};
    default:
      return {};
  }
}

// The strings that the verifier would visit below the list, counted once for each reference.
std::size_t nested_strings(const std::uint8_t* bytes, std::size_t size) {
  Walk walk(bytes, size);
  const fb::Table* message = walk.root();
  if (message == nullptr) return 0;
  const Nested nested = nested_in(static_cast<fbs::Body>(walk.byte(message, fbs::Message::VT_BODY_TYPE)));
  const fb::Table* body = nested.list == 0 ? nullptr : walk.table(message, fbs::Message::VT_BODY);
  if (body == nullptr) return 0;
  const auto* list = walk.vector<fb::Vector<fb::Offset<fb::Table>>>(body, nested.list);
  std::size_t count = 0;
  for (fb::uoffset_t i = 0; list != nullptr && i < list->size(); ++i) {
    const fb::Table* item = walk.element(*list, i);
    if (item != nullptr && nested.middle != 0) item = walk.table(item, nested.middle);
    for (const fb::voffset_t field : nested.strings) {
      const auto* strings = item == nullptr || field == 0 ? nullptr : walk.vector<Strings>(item, field);
      count += strings == nullptr ? 0 : strings->size();
    }
  }
  return count;
}

}  // namespace

bool verify(const std::uint8_t* bytes, std::size_t size) {
  // The least that an honest frame spends on a table or on a string: a reference and a first word.
  const std::size_t most = size / (2 * sizeof(fb::uoffset_t));
  if (size < 2 * sizeof(fb::uoffset_t) || size > kMaxFrameBytes || nested_strings(bytes, size) > most) return false;
  fb::Verifier verifier(bytes, size, kDepthMax, static_cast<fb::uoffset_t>(most));
  return verifier.VerifyBuffer<fbs::Message>(nullptr);
}

}  // namespace berth::wire::codec
