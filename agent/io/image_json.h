// The JSON about images that is not the images' own: what the agent notes beside each, and files of credentials.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "agent/io/oci_json.h"
#include "state/ids.h"

namespace berth::agent {

// Beside an unpacked image. Written whole or not at all.
struct ImageNote {
  std::vector<std::string> names;    // ImageName::text() of those that led here, the latest meaning of each
  std::vector<std::string> digests;  // that a registry gave it, also those of lists that it is in
  ImageConfig config;
  state::TimeUs made_at = 0;
  std::uint64_t bytes = 0;
  // Everybody may have it, or only these, who showed that the registry lets them.
  bool for_all = true;
  std::vector<std::uint32_t> users;
};
std::string encode_note(const ImageNote& note);
state::Result<ImageNote> decode_note(const std::string& text);

// A file of credentials (containers-auth.json) with what the first of `texts` that knows a registry's host says of it.
// Only passwords and tokens: names of programs that would hand them out are left away. `from` is the number of that
// text, or as many as there are.
struct Credentials {
  std::string text;
  std::size_t from = 0;
};
Credentials merge_credentials(const std::vector<std::string>& texts, const std::string& host);

}  // namespace berth::agent
