#include "tools/cli/paths.h"

#include <array>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

namespace berth::tools {

namespace {

constexpr const char* kSystemSocket = "/run/berth/berth.sock";

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

std::string home() {
  if (std::string home = environment("HOME"); !home.empty()) return home;
  const passwd* entry = getpwuid(geteuid());
  return entry == nullptr || entry->pw_dir == nullptr ? "/" : entry->pw_dir;
}

std::string under_home(const char* variable, const char* otherwise) {
  const std::string base = environment(variable);
  return (base.empty() ? home() + "/" + otherwise : base) + "/berth";
}

}  // namespace

std::string default_socket() {
  struct stat found {};
  if (geteuid() == 0 || stat(kSystemSocket, &found) == 0) return kSystemSocket;
  const std::string runtime = environment("XDG_RUNTIME_DIR");
  if (!runtime.empty()) return runtime + "/berth.sock";
  return "/tmp/berth-" + std::to_string(geteuid()) + "/berth.sock";
}

std::string default_data_directory() {
  return geteuid() == 0 ? "/var/lib/berth" : under_home("XDG_DATA_HOME", ".local/share");
}

std::string default_identity_directory() { return under_home("XDG_CONFIG_HOME", ".config"); }

std::string default_server(const std::string& identity_directory) {
  if (std::string server = environment("BERTH_SERVER"); !server.empty()) return server;
  std::array<char, 512> line{};
  if (std::FILE* file = std::fopen((identity_directory + "/server").c_str(), "re")) {
    const bool any = std::fgets(line.data(), static_cast<int>(line.size()), file) != nullptr;
    std::fclose(file);
    std::string server = any ? line.data() : "";
    while (!server.empty() && (server.back() == '\n' || server.back() == ' ')) server.pop_back();
    if (!server.empty()) return server;
  }
  return default_socket();
}

std::string current_directory() {
  std::array<char, PATH_MAX> here{};
  return getcwd(here.data(), here.size()) == nullptr ? "" : here.data();
}

std::string absolute_path(const std::string& path) {
  if (path.empty() || path[0] == '/') return path;
  const std::string here = current_directory();
  return here == "/" ? "/" + path : here + "/" + path;
}

}  // namespace berth::tools
