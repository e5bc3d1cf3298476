// What people write in Slurm's ways: scripts, times, sizes, lists, formats.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "tools/cli/waiting.h"
#include "tools/slurm/columns.h"
#include "tools/slurm/import.h"
#include "tools/slurm/job_options.h"
#include "tools/slurm/jobs.h"
#include "tools/slurm/multi_prog.h"
#include "tools/slurm/script.h"
#include "tools/slurm/slurm_conf.h"
#include "tools/slurm/text.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace berth::tools;
  using namespace berth::tools::slurm;
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data + 1), size - 1);
  constexpr berth::state::TimeUs kNow = 1'790'000'000'000'000;
  switch (data[0] % 10) {
    case 0:
      (void)check_script(text);
      (void)script_options(table_of("sbatch"), text, true);
      break;
    case 1:
      if (const auto limit = parse_limit_ms(text); limit && *limit < 0) std::abort();
      (void)parse_mem_mib(text);
      break;
    case 2:
      (void)parse_begin(text, "", kNow);
      (void)parse_when(text, kNow);
      break;
    case 3:
      if (auto depends = parse_depends(text, ""); depends) {
        berth::state::JobSpec spec;
        spec.depends = depends->all;
        spec.any_dependency = depends->any;
        if (spec.depends.empty() || depends_text(spec).empty()) std::abort();
      }
      break;
    case 4:
      if (auto names = expand_hostlist(text); names && names->size() < 1000) (void)hostlist(*names);
      break;
    case 5:
      (void)parse_job_word(text);
      (void)parse_states(text);
      break;
    case 6:
      (void)output_pattern(std::string(text), true);
      (void)signal_number(text);
      break;
    case 7:
      (void)multi_prog_script(text, 5);
      (void)parse_signal(std::string(text));
      break;
    case 8: {
      const IncludeConf include = [](const std::string&) { return std::vector<ConfLine>{}; };
      if (auto lines = parse_conf(text, "slurm.conf", include); lines && lines->size() < 100) {
        (void)import_site({*lines, *lines, *lines, ""});
      }
      break;
    }
    default: {
      struct R {};
      static const std::vector<Field<R>> fields{{"name", 'j', "NAME", [](const R&) { return std::string("value"); }}};
      std::vector<std::string> unknown;
      (void)line_of<R>(parse_letters<R>(text, fields, unknown), nullptr);
      (void)line_of<R>(parse_names<R>(text, fields, 20, unknown), nullptr);
      break;
    }
  }
  return 0;
}
