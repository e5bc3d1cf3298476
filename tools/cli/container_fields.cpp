#include "tools/cli/container_fields.h"

#include <algorithm>

#include "state/units.h"
#include "tools/cli/text.h"

namespace berth::tools {

namespace {

using namespace state;

Error not_accepted(std::string_view value, std::string_view field, const std::string& what,
                   const std::string& accepted) {
  return invalid(std::string(field), "'" + printable(clip(value, 96)) + "' is not " + what + "; accepted: " + accepted);
}

// Of a container as it grows: what is wrong with it now is the value that was just added.
Status with(Container& to, Container changed, std::string_view field) {
  if (Status good = check_container(changed); !good) return invalid(std::string(field), good.error().message);
  to = std::move(changed);
  return Unit{};
}

Status add(Container& to, Mount mount, std::string_view field) {
  Container changed = to;
  const std::string source = mount.source;
  // A relative source is made absolute later on; any will do for the check.
  if (!mount.source.empty() && mount.source[0] != '/') mount.source.insert(0, "/");
  changed.mounts.push_back(std::move(mount));
  if (Status good = check_container(changed); !good) return invalid(std::string(field), good.error().message);
  changed.mounts.back().source = source;
  to = std::move(changed);
  return Unit{};
}

Result<std::uint64_t> limit_value(std::string_view name, std::string_view text, std::string_view field) {
  if (text == "unlimited") return Ulimit::kUnlimited;
  // What is counted in bytes may be said as a size.
  static constexpr std::string_view kBytes[] = {"as", "core", "data", "fsize", "memlock", "msgqueue", "rss", "stack"};
  const bool bytes = std::find(std::begin(kBytes), std::end(kBytes), name) != std::end(kBytes);
  if (bytes && !text.empty() && (text.back() < '0' || text.back() > '9')) {
    const auto mib = parse_mem_mib(text, field);
    if (!mib) return mib.error();
    return *mib << 20;
  }
  const auto number = parse_integer(text, field, 0, std::int64_t{1} << 60);
  if (!number) return number.error();
  return static_cast<std::uint64_t>(*number);
}

}  // namespace

Status add_mount(Container& to, std::string_view value, std::string_view field) {
  Mount mount;
  std::string type = "bind";
  bool readable = false, sized = false;
  for (const std::string& part : split(value, ',')) {
    const std::size_t equals = part.find('=');
    const std::string key = part.substr(0, equals);
    const std::string of = equals == std::string::npos ? "" : part.substr(equals + 1);
    if (key == "type") {
      type = of;
    } else if (key == "src" || key == "source") {
      mount.source = of;
    } else if (key == "dst" || key == "target" || key == "destination") {
      mount.target = of;
    } else if (key == "ro" || key == "readonly") {
      if (!of.empty() && of != "true" && of != "false") return not_accepted(value, field, "a mount", kMountForms);
      mount.read_only = of != "false";
    } else if (key == "rw" && of.empty()) {
      readable = true;
    } else if (key == "size") {
      const auto size = parse_mem_mib(of, field);
      if (!size) return size.error();
      mount.size_mib = *size;
      sized = true;
    } else {
      return not_accepted(value, field, "a mount", kMountForms);
    }
  }
  using Kind = Mount::Kind;
  if (type == "tmpfs") {
    mount.kind = Kind::kTmpfs;
  } else if (type == "scratch") {
    mount.kind = Kind::kScratch;
  } else if (type != "bind") {
    return not_accepted(value, field, "a mount", kMountForms);
  }
  const bool bind = mount.kind == Kind::kBind;
  if (mount.target.empty() || bind == mount.source.empty() || (sized && mount.kind != Kind::kTmpfs) ||
      (mount.read_only && (!bind || readable))) {
    return not_accepted(value, field, "a mount", kMountForms);
  }
  return add(to, std::move(mount), field);
}

Status add_tmpfs(Container& to, std::string_view value, std::string_view field) {
  const std::size_t colon = value.find(':');
  Mount mount;
  mount.kind = Mount::Kind::kTmpfs;
  mount.target = value.substr(0, colon);
  if (colon != std::string_view::npos) {
    const std::string_view option = value.substr(colon + 1);
    if (!option.starts_with("size=")) return not_accepted(value, field, "a tmpfs", "DIR or DIR:size=SIZE");
    const auto size = parse_mem_mib(option.substr(5), field);
    if (!size) return size.error();
    mount.size_mib = *size;
  }
  return add(to, std::move(mount), field);
}

Status add_ulimit(Container& to, std::string_view value, std::string_view field) {
  const std::size_t equals = value.find('=');
  const std::string name(value.substr(0, equals));
  const auto& names = ulimit_names();
  if (equals == std::string_view::npos || !std::binary_search(names.begin(), names.end(), std::string_view(name))) {
    std::string known;
    for (const std::string_view one : names) known += (known.empty() ? "" : ", ") + std::string(one);
    return not_accepted(value, field, "a limit", "NAME=SOFT or NAME=SOFT:HARD, with NAME one of " + known);
  }
  const std::string_view values = value.substr(equals + 1);
  const std::size_t colon = values.find(':');
  const auto soft = limit_value(name, values.substr(0, colon), field);
  if (!soft) return soft.error();
  const auto hard = colon == std::string_view::npos ? soft : limit_value(name, values.substr(colon + 1), field);
  if (!hard) return hard.error();
  Container changed = to;
  std::erase_if(changed.ulimits, [&](const Ulimit& limit) { return limit.name == name; });
  changed.ulimits.push_back({name, *soft, *hard});
  return with(to, std::move(changed), field);
}

Status set_pull(Container& to, std::string_view value, std::string_view field) {
  for (const PullPolicy policy : {PullPolicy::kMissing, PullPolicy::kAlways, PullPolicy::kNever}) {
    if (value != name_of(policy)) continue;
    to.pull = policy;
    return Unit{};
  }
  return not_accepted(value, field, "a pull policy", "missing, always or never");
}

Status set_seccomp(Container& to, std::string_view value, std::string_view field) {
  if (value != "default" && value != "unconfined") {
    return not_accepted(value, field, "a seccomp profile", "default or unconfined");
  }
  to.unconfined = value == "unconfined";
  return Unit{};
}

Status set_hostname(Container& to, std::string_view value, std::string_view field) {
  if (value.empty()) return invalid(std::string(field), "the hostname is empty");
  Container changed = to;
  changed.hostname = value;
  return with(to, std::move(changed), field);
}

Status finish_container(Container& container, const std::string& directory, bool of_process) {
  if (of_process) {
    const char* foreign = !container.mounts.empty()                ? "mounts"
                          : container.read_only                    ? "read-only"
                          : !container.hostname.empty()            ? "hostname"
                          : !container.auth_file.empty()           ? "registry-auth"
                          : container.unconfined                   ? "seccomp"
                          : container.pull != PullPolicy::kMissing ? "pull"
                                                                   : nullptr;
    if (foreign != nullptr) return invalid(foreign, "only a container has that: give an image as well");
  }
  const auto absolute = [&](std::string& path) {
    if (!path.empty() && path[0] != '/') path = (directory == "/" ? "" : directory) + "/" + path;
  };
  absolute(container.auth_file);
  for (Mount& mount : container.mounts) absolute(mount.source);
  return check_container(container);
}

}  // namespace berth::tools
