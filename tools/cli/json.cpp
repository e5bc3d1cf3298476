#include "tools/cli/json.h"

#include <array>
#include <cstdio>

namespace berth::tools {

namespace {

// The length of the UTF-8 sequence at the start of `text`, 0 if it is none (RFC 3629: no overlong forms, no
// surrogates).
std::size_t sequence_length(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(0);
  if (first < 0x80) return 1;
  const std::size_t length = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
  if (first < 0xC2 || first > 0xF4 || text.size() < length) return 0;
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0U) != 0x80U) return 0;
  }
  if ((first == 0xE0 && byte(1) < 0xA0) || (first == 0xED && byte(1) > 0x9F)) return 0;
  if ((first == 0xF0 && byte(1) < 0x90) || (first == 0xF4 && byte(1) > 0x8F)) return 0;
  return length;
}

}  // namespace

std::string json_string(std::string_view text) {
  std::string out = "\"";
  while (!text.empty()) {
    const std::size_t length = sequence_length(text);
    const char c = text.front();
    if (length == 0) {
      out += "\\ufffd";
    } else if (c == '"' || c == '\\') {
      out += {'\\', c};
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\t') {
      out += "\\t";
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      std::array<char, 8> code{};
      std::snprintf(code.data(), code.size(), "\\u%04x", static_cast<unsigned>(c));
      out += code.data();
    } else {
      out += text.substr(0, length);
    }
    text.remove_prefix(length == 0 ? 1 : length);
  }
  return out + '"';
}

void JsonWriter::separate() {
  if (after_key_) {
    after_key_ = false;
    return;
  }
  if (any_.empty()) return;
  if (any_.back()) out_.write(any_.size() == 1 ? "," : ", ");
  if (any_.size() == 1) out_.write("\n");
  any_.back() = true;
}

JsonWriter& JsonWriter::open(char bracket) {
  separate();
  out_.write({&bracket, 1});
  any_.push_back(false);
  return *this;
}

JsonWriter& JsonWriter::close(char bracket) {
  const bool line = any_.size() == 1 && any_.back();
  any_.pop_back();
  if (line) out_.write("\n");
  out_.write({&bracket, 1});
  return *this;
}

JsonWriter& JsonWriter::key(std::string_view name) {
  separate();
  out_.write(json_string(name) + ": ");
  after_key_ = true;
  return *this;
}

JsonWriter& JsonWriter::value(std::string_view text) {
  separate();
  out_.write(json_string(text));
  return *this;
}

JsonWriter& JsonWriter::value(std::int64_t number) {
  separate();
  out_.write(std::to_string(number));
  return *this;
}

JsonWriter& JsonWriter::value(double number) {
  separate();
  std::array<char, 64> text{};
  int length = std::snprintf(text.data(), text.size(), "%.4f", number);
  while (text[static_cast<std::size_t>(length) - 1] == '0') --length;
  if (text[static_cast<std::size_t>(length) - 1] == '.') --length;
  out_.write(std::string_view(text.data(), static_cast<std::size_t>(length)));
  return *this;
}

JsonWriter& JsonWriter::value(std::uint64_t number) {
  separate();
  out_.write(std::to_string(number));
  return *this;
}

JsonWriter& JsonWriter::value(bool truth) {
  separate();
  out_.write(truth ? "true" : "false");
  return *this;
}

JsonWriter& JsonWriter::null() {
  separate();
  out_.write("null");
  return *this;
}

JsonWriter& JsonWriter::time(std::string_view name, std::int64_t at_us) {
  key(name);
  return at_us == 0 ? null() : value(at_us);
}

JsonWriter& JsonWriter::strings(std::string_view name, const std::vector<std::string>& list) {
  key(name).begin_array();
  for (const std::string& item : list) value(item);
  return end_array();
}

void JsonWriter::end_document() { out_.write("\n"); }

}  // namespace berth::tools
