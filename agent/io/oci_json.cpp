#include "agent/io/oci_json.h"

#include <algorithm>
#include <boost/json/src.hpp>
#include <cerrno>
#include <fcntl.h>
#include <optional>
#include <sys/utsname.h>

#include "agent/io/files.h"

namespace berth::agent {

namespace json = boost::json;
using state::Error;
using state::ErrorCode;
using state::Result;

namespace {

constexpr std::size_t kDocumentMax = 4U << 20;

Error bad_image(std::string message) { return Error{ErrorCode::kInvalid, "image", std::move(message), 0}; }

Result<json::value> read_json(const std::string& path) {
  auto text = read_file(path, kDocumentMax);
  if (!text) return text.error();
  json::error_code error;
  json::value value = json::parse(*text, error);
  if (error || !value.is_object()) return bad_image("'" + path + "' is not a JSON object");
  return value;
}

const json::value* member(const json::value& value, std::string_view name) {
  const json::object* object = value.if_object();
  return object == nullptr ? nullptr : object->if_contains(name);
}

std::string text_of(const json::value& value, std::string_view name) {
  const json::value* found = member(value, name);
  return found != nullptr && found->is_string() ? std::string(found->get_string()) : std::string();
}

std::vector<std::string> texts_of(const json::value& value, std::string_view name) {
  std::vector<std::string> text_list;
  const json::value* found = member(value, name);
  if (found == nullptr || !found->is_array()) return text_list;
  for (const json::value& item : found->get_array()) {
    if (item.is_string()) text_list.emplace_back(item.get_string());
  }
  return text_list;
}

// "sha256:<hex>" is a file's name below blobs/; anything else could lead out of the layout.
std::optional<std::string> blob_path(const std::string& layout, const std::string& digest) {
  const std::size_t colon = digest.find(':');
  if (colon == std::string::npos || colon == 0 || colon + 1 == digest.size()) return std::nullopt;
  const auto plain = [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z'); };
  for (std::size_t i = 0; i < digest.size(); ++i) {
    if (i != colon && !plain(digest[i])) return std::nullopt;
  }
  return layout + "/blobs/" + digest.substr(0, colon) + "/" + digest.substr(colon + 1);
}

Result<json::value> read_blob(const std::string& layout, const std::string& digest) {
  const auto path = blob_path(layout, digest);
  if (!path) return bad_image("the image layout '" + layout + "' has a malformed digest '" + digest + "'");
  return read_json(*path);
}

bool fits_machine(const json::value& descriptor) {
  const json::value* platform = member(descriptor, "platform");
  if (platform == nullptr) return true;
  utsname machine{};
  uname(&machine);
  const std::string_view name = machine.machine;
  const std::string_view wanted = name == "x86_64" ? "amd64" : name == "aarch64" ? "arm64" : name;
  return text_of(*platform, "architecture") == wanted && text_of(*platform, "os") == "linux";
}

std::string list_tags(const json::value& index) {
  std::string tags;
  const json::value* manifests = member(index, "manifests");
  if (manifests == nullptr || !manifests->is_array()) return "none";
  for (const json::value& descriptor : manifests->get_array()) {
    const json::value* notes = member(descriptor, "annotations");
    const std::string tag = notes == nullptr ? "" : text_of(*notes, "org.opencontainers.image.ref.name");
    if (tag.empty()) continue;
    if (tags.size() > 200) return tags + ", …";
    tags += (tags.empty() ? "" : ", ") + tag;
  }
  return tags.empty() ? "none" : tags;
}

// The digest of the manifest for this machine among an index's descriptors; a nested index is followed.
Result<std::string> find_manifest(const std::string& layout, const json::value& index, const std::string& tag,
                                  int depth) {
  const json::value* manifests = member(index, "manifests");
  if (manifests != nullptr && manifests->is_array()) {
    for (const json::value& descriptor : manifests->get_array()) {
      if (depth == 0) {
        const json::value* notes = member(descriptor, "annotations");
        if (notes == nullptr || text_of(*notes, "org.opencontainers.image.ref.name") != tag) continue;
      }
      if (!fits_machine(descriptor)) continue;
      const std::string digest = text_of(descriptor, "digest");
      if (!text_of(descriptor, "mediaType").ends_with("image.index.v1+json")) return digest;
      if (depth > 2) break;
      const auto nested = read_blob(layout, digest);
      if (!nested) return nested.error();
      return find_manifest(layout, *nested, tag, depth + 1);
    }
  }
  if (depth > 0) return bad_image("the image '" + tag + "' in '" + layout + "' has no variant for this machine");
  return bad_image("no image '" + tag + "' in '" + layout + "' (it has: " + list_tags(index) + ")");
}

json::array text_list(const std::vector<std::string>& items) {
  json::array array;
  for (const std::string& item : items) array.emplace_back(item);
  return array;
}

json::object mount_entry(std::string_view at, std::string_view type, std::string_view source,
                         std::initializer_list<std::string_view> options) {
  json::array words;
  for (const std::string_view option : options) words.emplace_back(option);
  return {{"destination", at}, {"type", type}, {"source", source}, {"options", std::move(words)}};
}

json::array usual_mounts() {
  return {
      mount_entry("/proc", "proc", "proc", {"nosuid", "noexec", "nodev"}),
      mount_entry("/dev", "tmpfs", "tmpfs", {"nosuid", "strictatime", "mode=755", "size=65536k"}),
      mount_entry("/dev/pts", "devpts", "devpts", {"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"}),
      mount_entry("/dev/shm", "tmpfs", "shm", {"nosuid", "noexec", "nodev", "mode=1777", "size=65536k"}),
      mount_entry("/dev/mqueue", "mqueue", "mqueue", {"nosuid", "noexec", "nodev"}),
      mount_entry("/sys", "sysfs", "sysfs", {"nosuid", "noexec", "nodev", "ro"})};
}

json::array mounts(const std::vector<ContainerMount>& more) {
  const bool shm = std::any_of(more.begin(), more.end(), [](const auto& m) { return m.target == "/dev/shm"; });
  json::array all = usual_mounts();
  if (shm) {
    all.erase(std::find_if(all.begin(), all.end(),
                           [](const json::value& m) { return m.at("destination").as_string() == "/dev/shm"; }));
  }
  for (const ContainerMount& m : more) {
    all.push_back(json::object{
        {"destination", m.target}, {"type", m.type}, {"source", m.source}, {"options", text_list(m.options)}});
  }
  return all;
}

// Root in a container keeps what installing and serving need; anybody else gets none.
json::object capabilities(bool root) {
  json::array some;
  if (root) {
    some = {"CAP_CHOWN",  "CAP_DAC_OVERRIDE", "CAP_FOWNER",  "CAP_FSETID",           "CAP_KILL",
            "CAP_SETGID", "CAP_SETUID",       "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT"};
  }
  return {{"bounding", some},
          {"effective", some},
          {"permitted", some},
          {"inheritable", json::array()},
          {"ambient", json::array()}};
}

json::array rlimits(const ContainerSpec& spec) {
  json::array all;
  const auto add = [&](std::string type, std::uint64_t soft, std::uint64_t hard) {
    all.push_back(json::object{{"type", "RLIMIT_" + std::move(type)}, {"soft", soft}, {"hard", hard}});
  };
  const bool files =
      std::any_of(spec.ulimits.begin(), spec.ulimits.end(), [](const auto& limit) { return limit.name == "nofile"; });
  if (!files) add("NOFILE", spec.file_limit, std::max<std::uint64_t>(spec.file_limit, 4096));
  for (const state::Ulimit& limit : spec.ulimits) {
    std::string name = limit.name;
    std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::toupper(c); });
    add(std::move(name), limit.soft, limit.hard);
  }
  return all;
}

// What no program of an ordinary user needs, and what holes in kernels were reached through. A list of what is denied,
// not of what is allowed: it is read and compiled for each container, and a new system call of a new C library works.
json::object seccomp_profile() {
  static constexpr std::string_view kDenied[] = {"_sysctl",
                                                 "acct",
                                                 "add_key",
                                                 "bdflush",
                                                 "bpf",
                                                 "clock_adjtime",
                                                 "clock_settime",
                                                 "create_module",
                                                 "delete_module",
                                                 "finit_module",
                                                 "fsconfig",
                                                 "fsmount",
                                                 "fsopen",
                                                 "fspick",
                                                 "get_kernel_syms",
                                                 "init_module",
                                                 "io_uring_enter",
                                                 "io_uring_register",
                                                 "io_uring_setup",
                                                 "ioperm",
                                                 "iopl",
                                                 "kexec_file_load",
                                                 "kexec_load",
                                                 "keyctl",
                                                 "lookup_dcookie",
                                                 "mount",
                                                 "mount_setattr",
                                                 "move_mount",
                                                 "nfsservctl",
                                                 "open_by_handle_at",
                                                 "open_tree",
                                                 "perf_event_open",
                                                 "pivot_root",
                                                 "query_module",
                                                 "quotactl",
                                                 "quotactl_fd",
                                                 "reboot",
                                                 "request_key",
                                                 "setns",
                                                 "settimeofday",
                                                 "stime",
                                                 "swapoff",
                                                 "swapon",
                                                 "sysfs",
                                                 "syslog",
                                                 "umount",
                                                 "umount2",
                                                 "unshare",
                                                 "uselib",
                                                 "userfaultfd",
                                                 "ustat",
                                                 "vhangup",
                                                 "vm86",
                                                 "vm86old"};
  constexpr int kEnosys = 38;
  // CLONE_NEW…: NS, CGROUP, UTS, IPC, USER, PID, NET
  static constexpr std::uint64_t kNamespaces[] = {0x20000,    0x2000000,  0x4000000, 0x8000000,
                                                  0x10000000, 0x20000000, 0x40000000};
  json::array denied;
  for (const std::string_view name : kDenied) denied.emplace_back(name);
  json::array rules{json::object{{"names", std::move(denied)}, {"action", "SCMP_ACT_ERRNO"}, {"errnoRet", 1}},
                    // Its flags lie in memory, where no filter sees them: programs fall back to clone.
                    json::object{{"names", {"clone3"}}, {"action", "SCMP_ACT_ERRNO"}, {"errnoRet", kEnosys}}};
  for (const std::uint64_t flag : kNamespaces) {
    json::array args{json::object{{"index", 0}, {"value", flag}, {"valueTwo", flag}, {"op", "SCMP_CMP_MASKED_EQ"}}};
    rules.push_back(
        json::object{{"names", {"clone"}}, {"action", "SCMP_ACT_ERRNO"}, {"errnoRet", 1}, {"args", std::move(args)}});
  }
  json::array machines;
#if defined(__x86_64__)
  machines = {"SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"};
#elif defined(__aarch64__)
  machines = {"SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"};
#endif
  json::object profile{{"defaultAction", "SCMP_ACT_ALLOW"}, {"syscalls", std::move(rules)}};
  if (!machines.empty()) profile["architectures"] = std::move(machines);
  return profile;
}

}  // namespace

Result<ResolvedImage> resolve_image(const std::string& layout, const std::string& tag) {
  const auto index = read_json(layout + "/index.json");
  if (!index) return bad_image("no image layout in '" + layout + "': " + index.error().message);
  const auto digest = find_manifest(layout, *index, tag, 0);
  if (!digest) return digest.error();
  const auto manifest = read_blob(layout, *digest);
  if (!manifest) return manifest.error();
  ResolvedImage image;
  image.digest = *digest;
  const json::value* config_descriptor = member(*manifest, "config");
  if (config_descriptor == nullptr)
    return bad_image("the image '" + tag + "' in '" + layout + "' has no configuration");
  const auto document = read_blob(layout, text_of(*config_descriptor, "digest"));
  if (!document) return document.error();
  if (const json::value* layers = member(*manifest, "layers"); layers != nullptr && layers->is_array()) {
    for (const json::value& layer : layers->get_array()) {
      const auto path = blob_path(layout, text_of(layer, "digest"));
      const Fd readable(path ? open(path->c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK) : -1);
      if (!readable)
        return path ? system_error("read the image's layer", *path, errno)
                    : bad_image("the image '" + tag + "' in '" + layout + "' has a malformed digest");
    }
  }
  image.architecture = text_of(*document, "architecture");
  if (const json::value* config = member(*document, "config")) {
    image.config = {texts_of(*config, "Entrypoint"), texts_of(*config, "Cmd"), texts_of(*config, "Env"),
                    text_of(*config, "WorkingDir")};
  }
  return image;
}

std::string container_config(const ContainerSpec& spec) {
  json::array groups(spec.groups.begin(), spec.groups.end());
  json::array namespaces;
  for (const std::string_view type : {"pid", "mount", "ipc", "uts"}) namespaces.push_back(json::object{{"type", type}});
  if (!spec.netns.empty()) namespaces.push_back(json::object{{"type", "network"}, {"path", spec.netns}});
  json::object linux_part{
      {"namespaces", std::move(namespaces)},
      {"maskedPaths",
       {"/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
        "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi"}},
      {"readonlyPaths", {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}}};
  if (!spec.cgroups_path.empty()) linux_part["cgroupsPath"] = spec.cgroups_path;
  if (spec.seccomp) linux_part["seccomp"] = seccomp_profile();
  json::object process{
      {"terminal", false},
      {"user", {{"uid", spec.uid}, {"gid", spec.gid}, {"additionalGids", std::move(groups)}, {"umask", spec.umask}}},
      {"args", text_list(spec.args)},
      {"env", text_list(spec.env)},
      {"cwd", spec.directory},
      {"capabilities", capabilities(spec.uid == 0)},
      {"rlimits", rlimits(spec)},
      {"noNewPrivileges", true}};
  json::array all_mounts = mounts(spec.mounts);
  for (const auto& [source, target] : spec.files)
    all_mounts.push_back(mount_entry(target, "bind", source, {"bind", "ro"}));
  const json::object config{{"ociVersion", "1.0.2"},
                            {"process", std::move(process)},
                            {"root", {{"path", "rootfs"}, {"readonly", spec.read_only}}},
                            {"hostname", spec.hostname},
                            {"mounts", std::move(all_mounts)},
                            {"linux", std::move(linux_part)}};
  return json::serialize(config);
}

Result<std::string> command_process(const std::string& bundle, const std::vector<std::string>& args,
                                    const std::vector<std::string>& env, bool terminal) {
  auto config = read_json(bundle + "/config.json");
  if (!config) return config.error();
  json::value* found = config->as_object().if_contains("process");
  if (found == nullptr || !found->is_object()) return bad_image("'" + bundle + "/config.json' names no process");
  json::object& process = found->get_object();
  // The last word on a variable stands.
  std::vector<std::string> lines = texts_of(*found, "env");
  for (const std::string& line : env) {
    const std::string name = line.substr(0, line.find('=') + 1);
    std::erase_if(lines, [&](const std::string& old) { return old.starts_with(name); });
    lines.push_back(line);
  }
  process["args"] = text_list(args);
  process["env"] = text_list(lines);
  process["terminal"] = terminal;
  return json::serialize(process);
}

std::string plain_runtime_error(std::string_view line) {
  // runc: time="…" level=error msg="…"    crun: 2026-05-01T12:00:00.000000Z: …
  if (const std::size_t at = line.find("msg=\""); at != std::string_view::npos) {
    std::string text;
    for (std::size_t i = at + 5; i < line.size() && line[i] != '"'; ++i) {
      if (line[i] == '\\' && i + 1 < line.size()) ++i;
      text += line[i];
    }
    return text;
  }
  if (line.size() > 20 && line.substr(0, 2) == "20" && line[4] == '-' && line[10] == 'T') {
    const std::size_t at = line.find(": ");
    if (at != std::string_view::npos) line.remove_prefix(at + 2);
  }
  while (!line.empty() && line.back() == ' ') line.remove_suffix(1);
  return std::string(line);
}

}  // namespace berth::agent
