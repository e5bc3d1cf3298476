// The parser of `berth deploy` on any bytes: services that can be built or are refused, or one clear line that names
// the file.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "tools/cli/deploy_file.h"
#include "tools/cli/service_draft.h"

namespace {

using namespace berth;

void check_line(const std::string& message) {
  if (message.empty() || message.size() > 20'000) std::abort();
  for (const char c : message) {
    if (static_cast<unsigned char>(c) < 0x20) std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto file = tools::parse_deploy_file({reinterpret_cast<const char*>(data), size}, "file", {"A=1", "B="});
  if (!file) {
    if (!file.error().message.starts_with("file:")) std::abort();
    check_line(file.error().message);
    return 0;
  }
  if (file->services.empty()) std::abort();
  for (const std::string& note : file->notes) check_line(note);
  const tools::Surroundings surroundings{{"HOME=/home/ana"}, "/home/ana", 022};
  for (const tools::ServiceInFile& service : file->services) {
    const auto request = tools::build_service(service.draft, surroundings);
    if (!request && request.error().message.empty()) std::abort();
  }
  return 0;
}
