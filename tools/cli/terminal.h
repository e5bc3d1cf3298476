// What standard output and standard error are: terminals or not, how wide, with colours or not; and the progress line,
// a line on standard error that is rewritten in place. One thread.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace berth::tools {

bool stdout_is_terminal();
bool stderr_is_terminal();
std::size_t terminal_width();  // of standard error or output; $COLUMNS; else 100
std::size_t help_width();      // for --help: at most 100 columns

enum class Colour { kNone, kRed, kGreen, kYellow, kDim, kBold };
// The text in the colour if standard output is a terminal and NO_COLOR is not set; else the text.
std::string coloured(std::string_view text, Colour colour);

// Rewrites the progress line. Only on a terminal.
void show_progress_line(const std::string& line);
// Ends it, so that what is written next begins on a line of its own; `erase` takes it away. Nothing if there is none.
void end_progress_line(bool erase = false);
// One line on standard error, "berth: TEXT", for what is worth knowing and is no error.
void note(const std::string& text);

}  // namespace berth::tools
