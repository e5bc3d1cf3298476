#include "tools/cli/terminal.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <sys/ioctl.h>
#include <unistd.h>

#include "tools/cli/text.h"

namespace berth::tools {

namespace {

constexpr std::size_t kWidthOtherwise = 100;

bool progress_shown = false;

bool colours() {
  static const bool on = [] {
    const char* no_color = std::getenv("NO_COLOR");
    const char* term = std::getenv("TERM");
    const bool dumb = term != nullptr && std::string_view(term) == "dumb";
    return stdout_is_terminal() && !dumb && (no_color == nullptr || *no_color == 0);
  }();
  return on;
}

}  // namespace

bool stdout_is_terminal() { return isatty(STDOUT_FILENO) == 1; }
bool stderr_is_terminal() { return isatty(STDERR_FILENO) == 1; }

std::size_t terminal_width() {
  winsize size{};
  for (const int fd : {STDOUT_FILENO, STDERR_FILENO}) {
    if (ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col != 0) return size.ws_col;
  }
  const char* columns = std::getenv("COLUMNS");
  const long wide = columns == nullptr ? 0 : std::strtol(columns, nullptr, 10);
  return wide > 0 && wide < 10'000 ? static_cast<std::size_t>(wide) : kWidthOtherwise;
}

std::size_t help_width() {
  return stdout_is_terminal() ? std::clamp<std::size_t>(terminal_width(), 60, kWidthOtherwise) : kWidthOtherwise;
}

std::string coloured(std::string_view text, Colour colour) {
  if (colour == Colour::kNone || !colours()) return std::string(text);
  const char* code = "0";
  switch (colour) {
    case Colour::kRed:
      code = "31";
      break;
    case Colour::kGreen:
      code = "32";
      break;
    case Colour::kYellow:
      code = "33";
      break;
    case Colour::kDim:
      code = "2";
      break;
    case Colour::kBold:
      code = "1";
      break;
    case Colour::kNone:
      break;
  }
  return std::string("\x1b[") + code + "m" + std::string(text) + "\x1b[0m";
}

void show_progress_line(const std::string& line) {
  if (!stderr_is_terminal()) return;
  std::fprintf(stderr, "\r\x1b[K%s", clip(line, terminal_width() - 1).c_str());
  std::fflush(stderr);
  progress_shown = true;
}

void end_progress_line(bool erase) {
  if (!progress_shown) return;
  std::fputs(erase ? "\r\x1b[K" : "\n", stderr);
  progress_shown = false;
}

void note(const std::string& text) {
  end_progress_line(true);
  std::fprintf(stderr, "berth: %s\n", printable(text).c_str());
}

}  // namespace berth::tools
