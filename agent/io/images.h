// ImageStore: container images for pods, from registries, OCI layouts, archives and directories. What two pods want is
// fetched and unpacked once, whoever asks first; the others wait. skopeo fetches and umoci unpacks, as processes beside
// the loop, which is never held up. Loop thread only.
//
// Rights: skopeo runs as the agent and reads nothing of a user's by itself. Files are opened with the user's rights;
// of his credentials the part about the one registry is handed over in a file of the agent's. An image that came by
// somebody's own credentials is given to others only when the registry lets them have it too.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "agent/io/image_shelf.h"
#include "agent/io/shim_launcher.h"
#include "agent/io/skopeo.h"
#include "api/wire/loop.h"
#include "state/records.h"

namespace berth::agent {

struct ImageOptions {
  RegistryOptions registry;
  std::uint32_t tools_max = 4;      // skopeo and umoci processes at once
  std::int64_t retry_ms = 120'000;  // how long a registry that cannot be reached is tried again
  std::uint64_t keep_bytes = 0;     // unused images are removed, the longest unused first, while all take more; 0: not
  std::int64_t unused_ms = 0;       // … and those that no pod used for so long; 0: not
};

class ImageStore {
 public:
  using Handler = std::function<void(state::Result<ImageHandle>)>;
  ImageStore(wire::Loop& loop, const Layout& layout, ShimLauncher& launcher, ImageOptions options);
  ~ImageStore();
  // Takes up what is there. What an agent that died left half done is removed, beside the loop.
  void open();

  struct Request {
    std::string image;
    state::Owner owner;
    state::PullPolicy pull = state::PullPolicy::kMissing;
    std::string auth_file;
  };
  // May call back at once.
  void get(const Request& request, Handler handler);
  // What an adopted pod runs on; nullptr: not known.
  ImageHandle hold(const std::string& digest) { return shelf_.take(digest); }
  void used(const Image& image);  // a pod has ended that ran on it
  // Removes what the options say, and goes on doing so. Not before pods that run are known to hold what they run on.
  void collect();

  // For people.
  std::vector<state::ImageRow> rows() const;
  std::optional<state::ImageRow> row(const std::string& digest) const { return shelf_.row(digest); }
  state::Result<state::ImageRow> remove(const std::string& name_or_digest);
  std::vector<state::ImageRow> prune(std::int64_t unused_ms, std::uint64_t keep_bytes);

 private:
  struct Waiter {
    std::string name;  // as it was asked for
    std::uint32_t uid = 0;
    bool for_all = true;  // it came without credentials of the user's own
    Handler handler;
  };
  // A question to a registry, or an image on its way: one process after the other.
  struct Way {
    enum class Phase { kAsking, kCopying, kUnpacking, kMeasuring } phase = Phase::kAsking;
    std::string key;
    state::ImageName name;    // what is fetched
    std::string from_digest;  // what the registry calls it, or what the file was
    std::string stage;        // a directory of ours
    Fd file;                  // of an archive
    std::vector<Waiter> waiting;
    std::unique_ptr<WatchedProcess> process;
    std::shared_ptr<wire::Loop::Timer> pause;
    std::int64_t began_ms = 0, pause_ms = 0;
    bool made_room = false;
    std::string digest;  // once it is copied
    ImageNote note;
  };

  void get_file(const state::ImageName& name, const Request& request, Handler handler);
  void get_archive(const state::ImageName& name, const Request& request, Handler handler);
  void get_from_registry(const state::ImageName& name, const Request& request, Handler handler);
  Way* join(const std::string& key, Waiter waiter);  // the new way, or nullptr: somebody is on it
  void set_out(Way& way);
  void start(Way& way);
  void pump();
  void done(Way& way, int status);
  void asked(Way& way);
  void copied(Way& way);
  void measured(Way& way);
  void failed(Way& way, PullFailure failure);
  void resume(std::string key);
  void finish(Way& way, state::Result<ImageHandle> result);
  void settle(const Waiter& waiter, const std::string& digest, const std::string& from_digest);
  void clear_away(std::string path);

  wire::Loop& loop_;
  const Layout& layout_;
  ShimLauncher& launcher_;
  const ImageOptions options_;
  ImageShelf shelf_;
  std::map<std::string, std::unique_ptr<Way>> ways_;  // by key
  std::deque<std::string> queue_;                     // keys of those whose next process has no room yet
  std::uint32_t running_ = 0;
  std::map<std::string, std::unique_ptr<WatchedProcess>> clearing_;  // by path
  std::shared_ptr<wire::Loop::Timer> collect_timer_;
};

// Of a registry's host: the user's own file, then where tools keep them, then the site's; read with the user's rights.
Credentials credentials_for(const state::Owner& owner, const std::string& auth_file, const std::string& site_file,
                            const std::string& host);

}  // namespace berth::agent
