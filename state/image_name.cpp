#include "state/image_name.h"

#include <algorithm>

#include "state/text.h"

namespace berth::state {

namespace {

constexpr std::size_t kBytesMax = 4095;
constexpr std::size_t kTagBytesMax = 128;
constexpr std::string_view kDigestPrefix = "sha256:";

bool is_lower_or_digit(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }
bool is_word(char c) { return is_lower_or_digit(c) || (c >= 'A' && c <= 'Z') || c == '_'; }

bool is_host(std::string_view host) {
  const std::size_t colon = host.rfind(':');
  std::string_view name = host.substr(0, colon);
  if (colon != std::string_view::npos) {
    const std::string_view port = host.substr(colon + 1);
    if (port.empty() || port.size() > 5 ||
        !std::all_of(port.begin(), port.end(), [](char c) { return c >= '0' && c <= '9'; }))
      return false;
  }
  if (name.empty() || name.front() == '-' || name.front() == '.') return false;
  return std::all_of(name.begin(), name.end(), [](char c) { return (is_word(c) && c != '_') || c == '-' || c == '.'; });
}

// Parts of lower-case words between slashes, with . _ - within.
bool is_repository(std::string_view name) {
  for (std::size_t at = 0; at <= name.size();) {
    const std::size_t end = std::min(name.find('/', at), name.size());
    const std::string_view part = name.substr(at, end - at);
    if (part.empty() || !is_lower_or_digit(part.front()) || !is_lower_or_digit(part.back())) return false;
    if (!std::all_of(part.begin(), part.end(),
                     [](char c) { return is_lower_or_digit(c) || c == '.' || c == '_' || c == '-'; }))
      return false;
    at = end + 1;
  }
  return true;
}

bool is_tag(std::string_view tag) {
  if (tag.empty() || tag.size() > kTagBytesMax || !is_word(tag.front())) return false;
  return std::all_of(tag.begin(), tag.end(), [](char c) { return is_word(c) || c == '.' || c == '-'; });
}

bool is_digest(std::string_view digest) {
  if (!digest.starts_with(kDigestPrefix) || digest.size() != kDigestPrefix.size() + 64) return false;
  return std::all_of(digest.begin() + kDigestPrefix.size(), digest.end(),
                     [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

// As container tools tell a host from a directory.
bool names_host(std::string_view text) {
  const std::size_t slash = text.find('/');
  if (slash == std::string_view::npos || slash == 0) return false;
  const std::string_view first = text.substr(0, slash);
  if (first == "." || first == "..") return false;
  return first == "localhost" || first.find_first_of(".:") != std::string_view::npos;
}

Error not_an_image(std::string_view text, std::string_view field) {
  return invalid(std::string(field), shown(text) + " is not an image; accepted: " + kImageForms);
}

Result<ImageName> parse_registry(std::string_view text, std::string_view rest, std::string_view field) {
  ImageName name;
  name.kind = ImageName::Kind::kRegistry;
  if (const std::size_t at = rest.find('@'); at != std::string_view::npos) {
    name.digest = rest.substr(at + 1);
    rest = rest.substr(0, at);
    if (!is_digest(name.digest)) {
      return invalid(std::string(field), shown(text) + ": a digest is sha256: and 64 hexadecimal digits");
    }
  }
  const std::size_t slash = rest.rfind('/');
  if (slash == std::string_view::npos) {
    return invalid(std::string(field), shown(text) + " names no registry; accepted: docker://HOST/NAME:TAG");
  }
  if (const std::size_t colon = rest.find(':', slash); colon != std::string_view::npos) {
    name.tag = rest.substr(colon + 1);
    rest = rest.substr(0, colon);
    if (!is_tag(name.tag)) return not_an_image(text, field);
  }
  const std::size_t first = rest.find('/');
  if (!is_host(rest.substr(0, first)) || !is_repository(rest.substr(first + 1))) return not_an_image(text, field);
  name.place = rest;
  // The digest says more than the tag.
  if (!name.digest.empty()) {
    name.tag.clear();
  } else if (name.tag.empty()) {
    name.tag = "latest";
  }
  return name;
}

}  // namespace

Result<ImageName> ImageName::parse(std::string_view text, std::string_view field) {
  const bool printable = std::none_of(text.begin(), text.end(), [](unsigned char c) { return c < ' ' || c == 127; });
  if (text.empty() || text.size() > kBytesMax || !printable) return not_an_image(text.substr(0, 256), field);
  const auto behind = [&](std::string_view prefix) { return text.substr(prefix.size()); };
  if (text.starts_with("docker://")) return parse_registry(text, behind("docker://"), field);
  ImageName name;
  if (text.starts_with("docker-archive:")) {
    name.kind = Kind::kArchive;
    name.place = behind("docker-archive:");
    if (name.place.empty() || name.place.find(':') != std::string::npos) return not_an_image(text, field);
    return name;
  }
  if (text.starts_with("rootfs:")) {
    name.kind = Kind::kRootfs;
    name.place = behind("rootfs:");
    if (name.place.empty()) return not_an_image(text, field);
    return name;
  }
  const bool prefixed = text.starts_with("oci:");
  if (!prefixed && names_host(text)) return parse_registry(text, text, field);
  const std::string_view rest = prefixed ? behind("oci:") : text;
  const std::size_t colon = rest.rfind(':');
  if (colon == std::string_view::npos || colon == 0 || colon + 1 == rest.size() ||
      rest.find('/', colon) != std::string_view::npos) {
    return not_an_image(text, field);
  }
  name.place = rest.substr(0, colon);
  name.tag = rest.substr(colon + 1);
  return name;
}

std::string ImageName::text() const {
  switch (kind) {
    case Kind::kLayout:
      return "oci:" + place + ":" + tag;
    case Kind::kArchive:
      return "docker-archive:" + place;
    case Kind::kRootfs:
      return "rootfs:" + place;
    case Kind::kRegistry:
      return "docker://" + place + (tag.empty() ? "" : ":" + tag) + (digest.empty() ? "" : "@" + digest);
  }
  return "";
}

std::string ImageName::host() const {
  return kind == Kind::kRegistry ? place.substr(0, place.find('/')) : std::string();
}

}  // namespace berth::state
