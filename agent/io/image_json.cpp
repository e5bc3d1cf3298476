#include "agent/io/image_json.h"

#include <boost/json.hpp>

namespace berth::agent {

namespace json = boost::json;
using state::Error;
using state::ErrorCode;
using state::Result;

namespace {

json::array texts(const std::vector<std::string>& items) {
  json::array array;
  for (const std::string& item : items) array.emplace_back(item);
  return array;
}

std::vector<std::string> texts_of(const json::object& object, std::string_view name) {
  std::vector<std::string> out;
  const json::value* found = object.if_contains(name);
  if (found == nullptr || !found->is_array()) return out;
  for (const json::value& item : found->get_array()) {
    if (item.is_string()) out.emplace_back(item.get_string());
  }
  return out;
}

template <class Number>
Number number_of(const json::object& object, std::string_view name) {
  const json::value* found = object.if_contains(name);
  Number out = 0;
  if (found == nullptr || !found->is_number()) return out;
  json::error_code error;
  const auto value = found->to_number<Number>(error);
  return error ? out : value;
}

// "https://host:port/v1/" and "host:port/some/path" are of host:port.
std::string_view host_of(std::string_view key) {
  for (const std::string_view scheme : {"https://", "http://"}) {
    if (key.starts_with(scheme)) key.remove_prefix(scheme.size());
  }
  return key.substr(0, key.find('/'));
}

}  // namespace

std::string encode_note(const ImageNote& note) {
  json::array users(note.users.begin(), note.users.end());
  const json::object object{{"names", texts(note.names)},
                            {"digests", texts(note.digests)},
                            {"entrypoint", texts(note.config.entrypoint)},
                            {"command", texts(note.config.command)},
                            {"env", texts(note.config.env)},
                            {"directory", note.config.directory},
                            {"made_at", note.made_at},
                            {"bytes", note.bytes},
                            {"for_all", note.for_all},
                            {"users", std::move(users)}};
  return json::serialize(object);
}

Result<ImageNote> decode_note(const std::string& text) {
  json::error_code error;
  const json::value value = json::parse(text, error);
  const json::object* object = error ? nullptr : value.if_object();
  if (object == nullptr) return Error{ErrorCode::kInternal, "image", "the note beside an image is damaged", 0};
  ImageNote note;
  note.names = texts_of(*object, "names");
  note.digests = texts_of(*object, "digests");
  note.config.entrypoint = texts_of(*object, "entrypoint");
  note.config.command = texts_of(*object, "command");
  note.config.env = texts_of(*object, "env");
  if (const json::value* directory = object->if_contains("directory"); directory != nullptr && directory->is_string()) {
    note.config.directory = std::string(directory->get_string());
  }
  note.made_at = number_of<std::int64_t>(*object, "made_at");
  note.bytes = number_of<std::uint64_t>(*object, "bytes");
  const json::value* for_all = object->if_contains("for_all");
  note.for_all = for_all != nullptr && for_all->is_bool() && for_all->get_bool();
  if (const json::value* users = object->if_contains("users"); users != nullptr && users->is_array()) {
    for (const json::value& user : users->get_array()) {
      json::error_code bad;
      const auto uid = user.is_number() ? user.to_number<std::uint32_t>(bad) : 0;
      if (user.is_number() && !bad) note.users.push_back(uid);
    }
  }
  return note;
}

Credentials merge_credentials(const std::vector<std::string>& all, const std::string& host) {
  Credentials out;
  out.from = all.size();
  json::object auths;
  for (std::size_t i = 0; i < all.size(); ++i) {
    json::error_code error;
    const json::value value = json::parse(all[i], error);
    const json::object* object = error ? nullptr : value.if_object();
    const json::value* list = object == nullptr ? nullptr : object->if_contains("auths");
    if (list == nullptr || !list->is_object()) continue;
    for (const auto& [key, entry] : list->get_object()) {
      const json::object* known = entry.if_object();
      if (known == nullptr || host_of(key) != host) continue;
      json::object kept;
      for (const std::string_view field : {"auth", "identitytoken"}) {
        const json::value* word = known->if_contains(field);
        if (word != nullptr && word->is_string() && !word->get_string().empty()) kept[field] = *word;
      }
      if (kept.empty()) continue;
      auths[key] = std::move(kept);
      out.from = i;
    }
    if (out.from == i) break;
  }
  out.text = json::serialize(json::object{{"auths", std::move(auths)}});
  return out;
}

}  // namespace berth::agent
