#include "agent/io/skopeo.h"

#include <algorithm>
#include <sys/utsname.h>
#include <unistd.h>

#include "agent/io/oci_json.h"

namespace berth::agent {

using state::Error;
using state::ErrorCode;
using state::ImageName;

namespace {

// Where a site says which images it trusts. Without that file skopeo refuses everything.
constexpr const char* kPolicyFile = "/etc/containers/policy.json";
constexpr std::size_t kWordsMax = 400;

std::vector<std::string> common() {
  std::vector<std::string> words{"skopeo"};
  if (access(kPolicyFile, R_OK) != 0) words.emplace_back("--insecure-policy");
  return words;
}

bool is_insecure(const RegistryOptions& options, const ImageName& name) {
  return std::find(options.insecure.begin(), options.insecure.end(), name.host()) != options.insecure.end();
}

bool has_any(std::string_view text, std::initializer_list<std::string_view> words) {
  return std::any_of(words.begin(), words.end(),
                     [&](std::string_view word) { return text.find(word) != std::string_view::npos; });
}

// The last line that says something, without time, level and the name that it repeats.
std::string last_words(std::string_view output) {
  while (!output.empty() && output.back() <= ' ') output.remove_suffix(1);
  const std::size_t at = output.rfind('\n');
  std::string line = plain_runtime_error(at == std::string_view::npos ? output : output.substr(at + 1));
  for (const std::string_view prefix : {"Error parsing image name ", "Error "}) {
    if (!line.starts_with(prefix)) continue;
    const std::size_t colon = prefix.size() > 6 ? line.find("\": ") : std::string::npos;
    if (colon != std::string::npos) line.erase(0, colon + 3);
  }
  std::replace_if(
      line.begin(), line.end(), [](unsigned char c) { return c < ' ' || c == 127; }, ' ');
  if (line.size() > kWordsMax) line = line.substr(0, kWordsMax) + "…";
  return line.empty() ? "no reason given" : line;
}

}  // namespace

std::vector<std::string> inspect_command(const RegistryOptions& options, const ImageName& name,
                                         const std::string& auth_file) {
  std::vector<std::string> words = common();
  words.insert(words.end(), {"inspect", "--raw", "--authfile", auth_file});
  if (is_insecure(options, name)) words.emplace_back("--tls-verify=false");
  if (!options.ca_directory.empty()) words.insert(words.end(), {"--cert-dir", options.ca_directory});
  words.push_back(name.text());
  return words;
}

std::vector<std::string> copy_command(const RegistryOptions& options, const ImageName& name,
                                      const std::string& auth_file, const std::string& layout) {
  std::vector<std::string> words = common();
  words.insert(words.end(), {"copy", "--quiet"});
  if (name.kind == ImageName::Kind::kRegistry) {
    words.insert(words.end(), {"--src-authfile", auth_file});
    if (is_insecure(options, name)) words.emplace_back("--src-tls-verify=false");
    if (!options.ca_directory.empty()) words.insert(words.end(), {"--src-cert-dir", options.ca_directory});
  }
  words.push_back(name.text());
  words.push_back("oci:" + layout + ":" + kStagedTag);
  return words;
}

PullFailure read_failure(const ImageName& name, std::string_view output, std::string_view doing) {
  using Kind = PullFailure::Kind;
  const std::string image = "the image '" + name.text() + "'";
  const std::string said = last_words(output);
  const auto failure = [&](Kind kind, ErrorCode code, std::string message) {
    return PullFailure{kind, Error{code, "image", std::move(message), 0}};
  };
  if (has_any(output, {"no space left on device", "disk quota exceeded"})) {
    return failure(Kind::kNoSpace, ErrorCode::kUnavailable, "no space on the node's disk for " + image);
  }
  if (has_any(output, {"no image found in manifest list", "no image found in image index"})) {
    return failure(Kind::kArchitecture, ErrorCode::kInvalid,
                   image + " has no variant for this machine's architecture, " + machine_architecture());
  }
  if (has_any(output, {"toomanyrequests", "too many requests", "429 Too Many"})) {
    return failure(Kind::kUnreachable, ErrorCode::kUnavailable,
                   "the registry " + name.host() + " takes no more requests at the moment: " + said);
  }
  if (has_any(output, {"unauthorized", "authentication required", "invalid username/password",
                       "access to the resource is denied", "403 Forbidden", "denied:"})) {
    return failure(Kind::kUnauthorized, ErrorCode::kDenied,
                   "the registry " + name.host() + " does not let this user have " + image + ": " + said);
  }
  if (has_any(output, {"manifest unknown", "name unknown", "repository name not known", "NAME_UNKNOWN",
                       "MANIFEST_UNKNOWN", "404 (Not Found)"})) {
    return failure(Kind::kUnknown, ErrorCode::kNotFound,
                   "the registry " + name.host() + " has no image '" + name.text() + "'");
  }
  if (has_any(output, {"x509:", "certificate"})) {
    return failure(Kind::kUntrusted, ErrorCode::kDenied,
                   "the certificate of the registry " + name.host() + " is not trusted: " + said);
  }
  if (has_any(output, {"server gave HTTP response to HTTPS client"})) {
    return failure(Kind::kUntrusted, ErrorCode::kDenied,
                   "the registry " + name.host() + " speaks no TLS (the agent's --insecure-registry allows that)");
  }
  if (has_any(output, {"is rejected by policy", "Source image rejected"})) {
    return failure(Kind::kUntrusted, ErrorCode::kDenied,
                   image + " is refused by the node's " + std::string(kPolicyFile) + ": " + said);
  }
  if (has_any(output, {"connection refused", "no such host", "i/o timeout", "TLS handshake timeout", "connection reset",
                       "network is unreachable", "no route to host", "unexpected EOF", ": EOF", "server misbehaving",
                       "temporary failure", "context deadline exceeded", "500 Internal", "502 Bad", "503 Service",
                       "504 Gateway", "broken pipe"})) {
    return failure(Kind::kUnreachable, ErrorCode::kUnavailable,
                   "the registry " + name.host() + " cannot be reached: " + said);
  }
  return failure(Kind::kOther, ErrorCode::kInternal, "cannot " + std::string(doing) + " " + image + ": " + said);
}

std::string machine_architecture() {
  utsname machine{};
  uname(&machine);
  const std::string_view name = machine.machine;
  if (name == "x86_64") return "amd64";
  if (name == "aarch64") return "arm64";
  if (name.starts_with("armv7")) return "arm";
  return std::string(name);
}

}  // namespace berth::agent
