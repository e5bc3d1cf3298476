// ImageShelf: the unpacked images of a node, on disk and in memory:
//
//   images/<digest>/rootfs      the image's root file system; pods mount it as an overlay's lower directory
//   images/<digest>/note.json   image_json.h; an image without one is not whole, and goes at the next start
//   images/<digest>/used        its time of modification is when a pod last used it
//   images/stage.<n>/           one on its way in; images/gone.<n>/ one on its way out. Neither outlives the agent
//
// An image comes by one rename, when all of it is on disk, and goes by one rename, when no pod holds it. Loop thread
// only.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "agent/io/image_json.h"
#include "agent/io/layout.h"
#include "state/image_name.h"
#include "state/node_requests.h"

namespace berth::agent {

// Held by every pod that starts or runs with it: what is held is not removed.
struct Image {
  std::string digest;    // of what was unpacked; "" for a directory of a user's
  std::string rootfs;    // nobody writes there
  bool as_user = false;  // rootfs is a user's directory: to be opened with his rights
  ImageConfig config;
};
using ImageHandle = std::shared_ptr<const Image>;

class ImageShelf {
 public:
  explicit ImageShelf(const Layout& layout) : layout_(layout) {}
  // Reads what is there. Gives back what is left of an agent that died: directories to remove.
  std::vector<std::string> open();

  std::string fresh_stage();  // a path that is not there yet
  std::string fresh_grave();

  // By the digest of what was unpacked, by a name, or by a digest that a registry gave.
  ImageHandle take(const std::string& digest);
  std::string find_name(const std::string& name) const;  // "" if there is none
  std::string find_digest(const std::string& registry) const;
  // May this user have it without the registry's word?
  bool is_open_to(const std::string& digest, std::uint32_t uid) const;

  // Moves `bundle`, whole and on disk, to its place. If the image is there already, only what is noted of it grows.
  state::Status add(const std::string& digest, const std::string& bundle, ImageNote note);
  // Another name or registry's digest has led to an image; the name leads to no other any more. nullptr: for everybody.
  state::Status add_name(const std::string& digest, const std::string& name, const std::string& registry_digest,
                         const std::uint32_t* user);
  // Out of the way, to be deleted at leisure: the path. An error if a pod holds it or there is none.
  state::Result<std::string> take_away(const std::string& digest);

  std::vector<state::ImageRow> rows() const;
  std::optional<state::ImageRow> row(const std::string& digest) const;
  // Those that nobody holds, the longest unused first, of which none was used since `before`, until the rest takes at
  // most `keep_bytes`.
  std::vector<std::string> removable(state::TimeUs before, std::uint64_t keep_bytes) const;
  void touch(const std::string& digest, state::TimeUs now);

 private:
  struct Known {
    ImageNote note;
    state::TimeUs used_at = 0;
    std::weak_ptr<const Image> held;
    std::uint32_t holders() const { return static_cast<std::uint32_t>(held.use_count()); }
  };
  std::string directory(const std::string& digest) const;
  state::Status write_note(const std::string& directory, const ImageNote& note, bool durable) const;

  const Layout& layout_;
  std::map<std::string, Known> known_;  // by digest
  std::uint64_t last_number_ = 0;
};

}  // namespace berth::agent
