#include "tools/roots/state_dump.h"

#include <algorithm>
#include <flatbuffers/flatbuffers.h>
#include <flatbuffers/reflection.h>
#include <flatbuffers/reflection_generated.h>
#include <fmt/format.h>
#include <vector>

#include "state/launch.h"
#include "state/records.h"
#include "state/reflection/journal_bfbs_generated.h"
#include "state/units.h"

namespace berth::tools {

namespace {

namespace fb = flatbuffers;
using reflection::BaseType;

// What JsonWriter does, as `key=value` on one line: fields that are not set are left out.
class TextWriter {
 public:
  TextWriter& begin_object() { return open('{'); }
  TextWriter& end_object() { return close('}'); }
  TextWriter& begin_array() { return open('['); }
  TextWriter& end_array() { return close(']'); }
  TextWriter& key(std::string_view name) {
    separate();
    text_ += name;
    text_ += '=';
    after_ = true;
    return *this;
  }
  TextWriter& value(std::string_view text) { return put(json_string(text)); }
  TextWriter& value(const char* text) { return value(std::string_view(text)); }
  TextWriter& value(std::int64_t number) { return put(std::to_string(number)); }
  TextWriter& value(std::uint64_t number) { return put(std::to_string(number)); }
  TextWriter& value(double number) { return put(fmt::format("{}", number)); }
  TextWriter& value(bool truth) { return put(truth ? "yes" : "no"); }
  TextWriter& word(const std::string& text) { return put(text); }
  std::string take() { return std::move(text_); }

 private:
  TextWriter& put(const std::string& text) {
    separate();
    text_ += text;
    return *this;
  }
  TextWriter& open(char bracket) {
    separate();
    text_ += bracket;
    after_ = true;
    return *this;
  }
  TextWriter& close(char bracket) {
    text_ += bracket;
    after_ = false;
    return *this;
  }
  void separate() {
    if (!after_ && !text_.empty()) text_ += ' ';
    after_ = false;
  }
  std::string text_;
  bool after_ = true;
};

const reflection::Schema& schema() { return *reflection::GetSchema(journal::BatchBinarySchema::data()); }

// In the order of the schema's text, which is that of the field numbers.
std::vector<const reflection::Field*> fields_of(const reflection::Object& object) {
  std::vector<const reflection::Field*> fields(object.fields()->begin(), object.fields()->end());
  std::sort(fields.begin(), fields.end(), [](const auto* a, const auto* b) { return a->id() < b->id(); });
  return fields;
}

std::string_view short_name(const reflection::Object& object) {
  const std::string_view whole = object.name()->string_view();
  return whole.substr(whole.find_last_of('.') + 1);
}

// The fields that are a pod's state.
bool is_pod_state(const reflection::Object& object, std::string_view field) {
  const std::string_view name = short_name(object);
  return (field == "state" && name == "Outcome") || (field == "stop_state" && name == "PodStop");
}

template <class Writer>
class Walk {
 public:
  explicit Walk(Writer& out) : out_(out) {}

  void table(const reflection::Object& object, const fb::Table& table) {
    for (const reflection::Field* field : fields_of(object)) {
      if (field->type()->base_type() == BaseType::UType || field->deprecated()) continue;
      const bool set = table.CheckField(field->offset());
      if (!set && (kText || !is_scalar(field->type()->base_type()) || field->optional())) continue;
      const std::string_view name = field->name()->string_view();
      out_.key(name);
      table_field(object, *field, table, name);
    }
  }

 private:
  static constexpr bool kText = std::is_same_v<Writer, TextWriter>;
  static bool is_scalar(BaseType type) { return type >= BaseType::UType && type <= BaseType::Double; }
  const reflection::Object& object_at(int index) { return *schema().objects()->Get(static_cast<fb::uoffset_t>(index)); }

  void table_field(const reflection::Object& object, const reflection::Field& field, const fb::Table& table,
                   std::string_view name) {
    const BaseType type = field.type()->base_type();
    if (is_scalar(type)) {
      const auto* at = table.GetAddressOf(field.offset());
      return scalar(object, type, name, at, field.default_integer(), field.default_real());
    }
    switch (type) {
      case BaseType::String:
        out_.value(table.GetPointer<const fb::String*>(field.offset())->string_view());
        break;
      case BaseType::Obj: {
        const reflection::Object& of = object_at(field.type()->index());
        out_.begin_object();
        if (of.is_struct()) {
          structure(of, table.GetStruct<const std::uint8_t*>(field.offset()));
        } else {
          this->table(of, *table.GetPointer<const fb::Table*>(field.offset()));
        }
        out_.end_object();
        break;
      }
      case BaseType::Vector:
        vector(field, table, name);
        break;
      default:
        out_.value("");
        break;  // the schema has no others
    }
  }

  void vector(const reflection::Field& field, const fb::Table& table, std::string_view name) {
    const auto* items = table.GetPointer<const fb::VectorOfAny*>(field.offset());
    const BaseType element = field.type()->element();
    if (element == BaseType::UByte) return bytes({items->Data(), items->size()}, name);
    out_.begin_array();
    for (fb::uoffset_t i = 0; i < items->size(); ++i) {
      if (is_scalar(element)) {
        const std::uint8_t* at = items->Data() + i * fb::GetTypeSize(element);
        scalar(*schema().root_table(), element, "", at, 0, 0);
        continue;
      }
      if (element == BaseType::String) {
        out_.value(reinterpret_cast<const fb::Vector<fb::Offset<fb::String>>*>(items)->Get(i)->string_view());
        continue;
      }
      const reflection::Object& of = object_at(field.type()->index());
      out_.begin_object();
      if (of.is_struct()) {
        structure(of, items->Data() + i * static_cast<fb::uoffset_t>(of.bytesize()));
      } else {
        this->table(of, *reinterpret_cast<const fb::Vector<fb::Offset<fb::Table>>*>(items)->Get(i));
      }
      out_.end_object();
    }
    out_.end_array();
  }

  // How a job's pods are launched is a message by itself, of the same schema.
  void bytes(std::span<const std::uint8_t> bytes, std::string_view name) {
    const std::string text(bytes.begin(), bytes.end());
    if (name == "launch" && state::decode_launch(std::as_bytes(std::span(text)))) {
      const auto* launch = schema().objects()->LookupByKey("berth.spec.Launch");
      if (launch != nullptr) {
        out_.begin_object();
        table(*launch, *fb::GetRoot<fb::Table>(text.data()));
        out_.end_object();
        return;
      }
    }
    std::string hex;
    for (const std::uint8_t byte : bytes) hex += fmt::format("{:02x}", byte);
    out_.value(std::string_view(hex));
  }

  void structure(const reflection::Object& object, const std::uint8_t* data) {
    for (const reflection::Field* field : fields_of(object)) {
      const std::string_view name = field->name()->string_view();
      out_.key(name);
      const std::uint8_t* at = data + field->offset();
      if (field->type()->base_type() == BaseType::Obj) {
        out_.begin_object();
        structure(object_at(field->type()->index()), at);
        out_.end_object();
      } else {
        scalar(object, field->type()->base_type(), name, at, 0, 0);
      }
    }
  }

  void scalar(const reflection::Object& object, BaseType type, std::string_view name, const std::uint8_t* at,
              std::int64_t otherwise, double real) {
    if (type == BaseType::Float || type == BaseType::Double) {
      const double number = at == nullptr             ? real
                            : type == BaseType::Float ? fb::ReadScalar<float>(at)
                                                      : fb::ReadScalar<double>(at);
      out_.value(number);
      return;
    }
    if (type == BaseType::Bool) {
      out_.value((at == nullptr ? otherwise : fb::ReadScalar<std::uint8_t>(at)) != 0);
      return;
    }
    if (type == BaseType::ULong) {
      out_.value(at == nullptr ? static_cast<std::uint64_t>(otherwise) : fb::ReadScalar<std::uint64_t>(at));
      return;
    }
    const std::int64_t number = at == nullptr ? otherwise : integer(type, at);
    if (is_pod_state(object, name)) {
      out_.value(state::name_of(static_cast<state::PodState>(number)));
      return;
    }
    if constexpr (kText) {
      if (name.ends_with("_at") && type == BaseType::Long)
        return static_cast<void>(out_.word(state::format_time(number)));
    }
    out_.value(number);
  }
  static std::int64_t integer(BaseType type, const std::uint8_t* at) {
    switch (type) {
      case BaseType::Byte:
        return fb::ReadScalar<std::int8_t>(at);
      case BaseType::UByte:
        return fb::ReadScalar<std::uint8_t>(at);
      case BaseType::Short:
        return fb::ReadScalar<std::int16_t>(at);
      case BaseType::UShort:
        return fb::ReadScalar<std::uint16_t>(at);
      case BaseType::Int:
        return fb::ReadScalar<std::int32_t>(at);
      case BaseType::UInt:
        return fb::ReadScalar<std::uint32_t>(at);
      default:
        return fb::ReadScalar<std::int64_t>(at);
    }
  }

  Writer& out_;
};

// Calls f(name, object, table) for each event of the batch.
template <class F>
void each_event(const fb::Table& batch, F&& f) {
  const reflection::Object& root = *schema().root_table();
  const auto* events =
      batch.GetPointer<const fb::Vector<fb::Offset<fb::Table>>*>(root.fields()->LookupByKey("events")->offset());
  const auto* kinds = schema().enums()->LookupByKey("berth.journal.Event");
  const auto* box = schema().objects()->LookupByKey("berth.journal.EventBox");
  for (fb::uoffset_t i = 0; events != nullptr && i < events->size(); ++i) {
    const fb::Table& boxed = *events->Get(i);
    const auto kind = boxed.GetField<std::uint8_t>(box->fields()->LookupByKey("event_type")->offset(), 0);
    const auto* event = boxed.GetPointer<const fb::Table*>(box->fields()->LookupByKey("event")->offset());
    const auto* value = kinds->values()->LookupByKey(kind);
    if (event == nullptr || value == nullptr) continue;
    const reflection::Object& object =
        *schema().objects()->Get(static_cast<fb::uoffset_t>(value->union_type()->index()));
    f(value->name()->string_view(), object, *event);
  }
}

template <class T>
T number_of(const fb::Table& batch, const char* field) {
  return batch.GetField<T>(schema().root_table()->fields()->LookupByKey(field)->offset(), 0);
}

}  // namespace

void dump_text(Output& out, std::span<const std::byte> payload) {
  const auto& batch = *fb::GetRoot<fb::Table>(payload.data());
  const std::string start = fmt::format("{}  {}  ", number_of<std::uint64_t>(batch, "index"),
                                        state::format_time(number_of<std::int64_t>(batch, "at")));
  each_event(batch, [&](std::string_view name, const reflection::Object& object, const fb::Table& event) {
    TextWriter text;
    Walk<TextWriter>(text).table(object, event);
    out.write(start + std::string(name) + "  " + text.take() + "\n");
  });
}

void dump_json(JsonWriter& json, std::span<const std::byte> payload) {
  const auto& batch = *fb::GetRoot<fb::Table>(payload.data());
  json.begin_object().field("index", number_of<std::uint64_t>(batch, "index"));
  json.field("at", number_of<std::int64_t>(batch, "at")).key("events").begin_array();
  each_event(batch, [&](std::string_view name, const reflection::Object& object, const fb::Table& event) {
    json.begin_object().field("event", name);
    Walk<JsonWriter>(json).table(object, event);
    json.end_object();
  });
  json.end_array().end_object();
}

}  // namespace berth::tools
