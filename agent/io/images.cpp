#include "agent/io/images.h"

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

namespace berth::agent {

using state::Error;
using state::ErrorCode;
using state::Result;

namespace {

bool is_directory(const std::string& path) {
  struct stat about {};
  return stat(path.c_str(), &about) == 0 && S_ISDIR(about.st_mode);
}

std::string last_line(const std::string& path) {
  auto text = read_file(path, 1U << 20);
  if (!text) return "no output";
  while (!text->empty() && text->back() == '\n') text->pop_back();
  const std::size_t at = text->rfind('\n');
  std::string line = at == std::string::npos ? *text : text->substr(at + 1);
  std::replace_if(
      line.begin(), line.end(), [](unsigned char c) { return c < ' '; }, ' ');
  return line;
}

}  // namespace

void ImageStore::clear_leftovers() {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(layout_.images(), error)) {
    if (entry.path().filename().string().starts_with("unpacking.")) remove_tree(entry.path());
  }
}

void ImageStore::prepare(const std::string& image, const state::Owner& owner, Handler handler) {
  const std::string plain = image.starts_with("oci:") ? image.substr(4) : image;
  const std::size_t colon = plain.rfind(':');
  if (plain.empty() || plain[0] != '/' || colon == std::string::npos || colon + 1 == plain.size() ||
      plain.find('/', colon) != std::string::npos) {
    return handler(Error{ErrorCode::kInvalid, "image",
                         "the image '" + image + "' is not an OCI layout DIR:TAG with an absolute directory", 0});
  }
  Result<ResolvedImage> resolved = [&] {
    const UserScope as_owner(owner.uid, owner.gid, owner.groups.data(), owner.groups.size());
    return resolve_image(plain.substr(0, colon), plain.substr(colon + 1));
  }();
  if (!resolved) return handler(resolved.error());
  std::string name = resolved->digest;
  std::replace(name.begin(), name.end(), ':', '-');
  const std::string rootfs = layout_.images() + "/" + name + "/rootfs";
  if (is_directory(rootfs)) return handler(std::make_shared<const Image>(Image{rootfs, std::move(resolved->config)}));
  const bool first = !unpacking_.contains(name);
  unpacking_[name].waiting.emplace_back(std::move(resolved->config), std::move(handler));
  if (first) unpack(name, plain);
}

void ImageStore::unpack(const std::string& name, const std::string& image) {
  Unpacking& work = unpacking_[name];
  work.image = image;
  remove_tree(aside(name));
  auto process = launcher_.run({"umoci", "unpack", "--image", image, aside(name)}, aside(name) + ".log",
                               [this, name](int status) { finish(name, status); });
  if (process) {
    work.process = std::move(*process);
    return;
  }
  const std::string why = process.error().message + " (containers need the package umoci)";
  Unpacking failed = std::move(work);
  unpacking_.erase(name);
  for (auto& [config, handler] : failed.waiting) handler(Error{ErrorCode::kInternal, "image", why, 0});
}

void ImageStore::finish(const std::string& name, int status) {
  Unpacking work = std::move(unpacking_[name]);
  unpacking_.erase(name);
  const std::string target = layout_.images() + "/" + name;
  std::string failure;
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
    failure = "cannot unpack the image '" + work.image + "': " + last_line(aside(name) + ".log");
  } else if (rename(aside(name).c_str(), target.c_str()) != 0 && errno != ENOTEMPTY && errno != EEXIST) {
    failure = system_error("keep the unpacked image", target, errno).message;
  }
  remove_tree(aside(name));
  unlink((aside(name) + ".log").c_str());
  for (auto& [config, handler] : work.waiting) {
    if (failure.empty()) {
      handler(std::make_shared<const Image>(Image{target + "/rootfs", std::move(config)}));
    } else {
      handler(Error{ErrorCode::kInternal, "image", failure, 0});
    }
  }
}

}  // namespace berth::agent
