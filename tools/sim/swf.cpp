#include "tools/sim/swf.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <zlib.h>

namespace berth::tools {

using state::Error;
using state::ErrorCode;
using state::Result;

namespace {

constexpr std::size_t kFields = 18;
constexpr std::uint32_t kSecondsMax = 1U << 31;      // 68 years
constexpr std::uint32_t kProcessorsMax = 1'000'000;  // what one pool of the simulator can be

std::string_view trimmed(std::string_view text) {
  const std::size_t first = text.find_first_not_of(" \t\r");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\r") - first + 1);
}

// "; MaxProcs: 100"
void read_comment(std::string_view line, JobLog& log, std::uint64_t& nodes) {
  line = trimmed(line.substr(1));
  const std::size_t colon = line.find(':');
  if (colon == std::string_view::npos) return;
  const std::string_view key = trimmed(line.substr(0, colon)), text = trimmed(line.substr(colon + 1));
  std::uint64_t value = 0;
  if (std::from_chars(text.data(), text.data() + text.size(), value).ec != std::errc()) return;
  if (key == "MaxProcs") log.processors = value;
  if (key == "MaxNodes") nodes = value;
}

class Parser {
 public:
  Parser(JobLog& log, const std::string& name) : log_(log), name_(name) {}

  state::Status line(std::string_view text) {
    ++number_;
    const std::string_view rest = trimmed(text);
    if (rest.empty()) return state::Unit{};
    if (rest[0] == ';') {
      read_comment(rest, log_, nodes_);
      return state::Unit{};
    }
    std::array<double, kFields> field{};
    const char* at = rest.data();
    const char* const end = at + rest.size();
    for (std::size_t i = 0; i < kFields; ++i) {
      while (at != end && (*at == ' ' || *at == '\t')) ++at;
      const auto [next, bad] = std::from_chars(at, end, field[i]);
      if (bad != std::errc() || (next != end && *next != ' ' && *next != '\t') || !std::isfinite(field[i])) {
        return wrong(at == end ? "has " + std::to_string(i) + " of 18 numbers"
                               : "field " + std::to_string(i + 1) + " is not a number");
      }
      at = next;
    }
    if (!trimmed(std::string_view(at, static_cast<std::size_t>(end - at))).empty()) {
      return wrong("has more than 18 fields");
    }
    return job(field);
  }

  void finish() {
    if (log_.processors == 0) log_.processors = nodes_;
    std::stable_sort(log_.jobs.begin(), log_.jobs.end(), [](const LogJob& a, const LogJob& b) {
      return a.submit_s != b.submit_s ? a.submit_s < b.submit_s : a.id < b.id;
    });
  }

 private:
  state::Status wrong(const std::string& what) const {
    return Error{ErrorCode::kInvalid, "", name_ + ":" + std::to_string(number_) + ": " + what, 0};
  }

  state::Status job(const std::array<double, kFields>& field) {
    const double id = field[0], submit = field[1], wait = field[2], run = field[3];
    const double procs = field[7] > 0 ? field[7] : field[4], asked = field[8], user = field[11];
    const double group = field[12];
    if (run < 0 || procs <= 0) {
      ++log_.left_out;
      return state::Unit{};
    }
    if (submit < 0 || submit > kSecondsMax) return wrong("field 2, the time of submission, is not from 0 to 2^31");
    if (run > kSecondsMax) return wrong("field 4, the run time, is over 2^31 seconds");
    if (procs > kProcessorsMax) return wrong("field 8, the processors, is over 1,000,000");
    LogJob job;
    job.id = static_cast<std::int64_t>(std::clamp(id, -1e15, 1e15));
    job.submit_s = static_cast<std::int64_t>(submit);
    job.wait_s = wait < 0 || wait > kSecondsMax ? -1 : static_cast<std::int64_t>(wait);
    job.run_s = static_cast<std::uint32_t>(run);
    job.procs = static_cast<std::uint32_t>(procs);
    job.limit_s = asked > 0 ? static_cast<std::uint32_t>(std::min<double>(asked, kSecondsMax)) : job.run_s;
    job.group = group >= 0 && group < kSecondsMax ? static_cast<std::uint32_t>(group) : 0;
    job.user = user >= 0 && user < kSecondsMax ? static_cast<std::uint32_t>(user) : 0;
    if (job.limit_s < job.run_s) {
      job.limit_s = job.run_s;
      ++log_.raised;
    }
    if (job.procs == 0) return wrong("field 8, the processors, is below 1");
    log_.jobs.push_back(job);
    return state::Unit{};
  }

  JobLog& log_;
  const std::string& name_;
  std::uint64_t number_ = 0, nodes_ = 0;
};

}  // namespace

Result<JobLog> parse_job_log(std::string_view text, const std::string& name) {
  JobLog log;
  Parser parser(log, name);
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    if (state::Status good = parser.line(text.substr(0, end)); !good) return good.error();
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  parser.finish();
  return log;
}

Result<JobLog> read_job_log(const std::string& path) {
  const std::unique_ptr<gzFile_s, int (*)(gzFile)> file(gzopen(path.c_str(), "rb"), gzclose);
  if (file == nullptr) {
    return Error{ErrorCode::kNotFound, "", path + ": " + std::strerror(errno != 0 ? errno : ENOMEM), 0};
  }
  gzbuffer(file.get(), 1U << 17);
  JobLog log;
  Parser parser(log, path);
  std::string held;
  std::vector<char> piece(1U << 16);
  while (true) {
    const int got = gzread(file.get(), piece.data(), static_cast<unsigned>(piece.size()));
    if (got < 0) {
      int code = 0;
      const char* why = gzerror(file.get(), &code);
      return Error{ErrorCode::kInvalid, "", path + ": " + (code == Z_ERRNO ? std::strerror(errno) : why), 0};
    }
    if (got == 0) break;
    std::string_view rest(piece.data(), static_cast<std::size_t>(got));
    for (std::size_t end = rest.find('\n'); end != std::string_view::npos; end = rest.find('\n')) {
      std::string_view line = rest.substr(0, end);
      if (!held.empty()) line = held.append(line);
      if (state::Status good = parser.line(line); !good) return good.error();
      held.clear();
      rest.remove_prefix(end + 1);
    }
    held.append(rest);
    if (held.size() > (1U << 16))
      return Error{ErrorCode::kInvalid, "", path + ": is not a job log: a line is over 64 KiB", 0};
  }
  if (state::Status good = parser.line(held); !good) return good.error();
  if (int code = Z_OK; gzeof(file.get()) == 0 || (gzerror(file.get(), &code), code != Z_OK && code != Z_STREAM_END)) {
    return Error{ErrorCode::kInvalid, "", path + ": ends in the middle of its compressed data", 0};
  }
  parser.finish();
  return log;
}

}  // namespace berth::tools
