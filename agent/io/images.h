// ImageStore: container images from local OCI layouts, each unpacked once by umoci, whoever asks first; the others
// wait. Loop thread only.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "agent/io/layout.h"
#include "agent/io/oci_json.h"
#include "agent/io/shim_launcher.h"
#include "state/records.h"

namespace berth::agent {

struct Image {
  std::string rootfs;  // read-only by convention: pods mount it as an overlay's lower directory
  ImageConfig config;
};

class ImageStore {
 public:
  using Handler = std::function<void(state::Result<std::shared_ptr<const Image>>)>;
  ImageStore(const Layout& layout, ShimLauncher& launcher) : layout_(layout), launcher_(launcher) {}
  void clear_leftovers();  // of an agent that died while it unpacked

  // `image` is "DIR:TAG" or "oci:DIR:TAG", read with the owner's rights. May call back at once.
  void prepare(const std::string& image, const state::Owner& owner, Handler handler);

 private:
  struct Unpacking {
    std::unique_ptr<WatchedProcess> process;
    std::string image;  // as umoci takes it
    std::vector<std::pair<ImageConfig, Handler>> waiting;
  };
  void unpack(const std::string& name, const std::string& image);
  void finish(const std::string& name, int status);
  std::string aside(const std::string& name) const { return layout_.images() + "/unpacking." + name; }

  const Layout& layout_;
  ShimLauncher& launcher_;
  std::map<std::string, Unpacking> unpacking_;
};

}  // namespace berth::agent
