// ImageName: where a container's image comes from, as people write it:
//
//   docker://HOST[:PORT]/NAME[:TAG][@DIGEST]   from a registry; without the prefix if HOST has a dot or a port, or is
//                                              localhost. Neither tag nor digest: the tag latest
//   oci:DIR:TAG, DIR:TAG                       TAG of an OCI layout, a directory
//   docker-archive:FILE                        as `docker save` writes it, with one image in it
//   rootfs:DIR                                 a directory with a root file system, used as it is
//
// Any bytes are safe input.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "state/result.h"

namespace berth::state {

struct ImageName {
  enum class Kind : std::uint8_t { kLayout, kRegistry, kArchive, kRootfs };
  Kind kind = Kind::kLayout;
  std::string place;   // a path; of a registry HOST[:PORT]/NAME
  std::string tag;     // "" with a digest, and where there is none
  std::string digest;  // of a registry, "sha256:…"; "": the tag decides

  static Result<ImageName> parse(std::string_view text, std::string_view field);
  std::string text() const;  // with its prefix; parse() gives the same back
  std::string host() const;  // of a registry, with the port
  bool is_file() const { return kind != Kind::kRegistry; }
  bool operator==(const ImageName&) const = default;
};

inline constexpr const char* kImageForms =
    "docker://HOST/NAME[:TAG][@DIGEST], [oci:]DIR:TAG for an OCI layout, docker-archive:FILE or rootfs:DIR";

}  // namespace berth::state
