// The files of `berth deploy`: services in Berth's own words (`services:` is a list), or a Compose file (`services:` is
// a mapping). Every error is one line that begins with FILE:LINE. Never throws; any bytes are safe input.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "tools/cli/service_draft.h"

namespace berth::tools {

struct ServiceInFile {
  ServiceDraft draft;
  std::string at;  // "FILE:LINE"
};
struct DeployFile {
  std::string space;  // the file's own name, "" if it has none
  std::vector<ServiceInFile> services;
  std::vector<std::string> notes;  // what is accepted and has no effect, a line each
};
// `environment`: what ${NAME} in a Compose file stands for, NAME=VALUE.
state::Result<DeployFile> parse_deploy_file(std::string_view text, const std::string& file,
                                            const std::vector<std::string>& environment);
state::Result<DeployFile> read_deploy_file(const std::string& path, const std::vector<std::string>& environment);

// One key of a Compose file, for its reader and for the documentation (docs/services.md).
struct ComposeKey {
  const char* path;  // "services.*.image"
  bool supported;
  const char* remark;  // what becomes of it, or why it is refused
};
const std::vector<ComposeKey>& compose_keys();

}  // namespace berth::tools
