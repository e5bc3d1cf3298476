// Small things about text that is shown to people. Pure functions; UTF-8 in, UTF-8 out; a code point counts as one
// column.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace berth::tools {

std::size_t columns_of(std::string_view text);
// At most `columns` wide; what is cut off shows as "…".
std::string clip(std::string_view text, std::size_t columns);
// Control characters become '?', so that nothing that came from elsewhere moves a terminal's cursor.
std::string printable(std::string_view text);
// Paragraphs (separated by empty lines) reflowed to `width` columns, every line indented. A line that begins with a
// blank is left as it is. Ends with a newline unless the text is empty.
std::string reflow(std::string_view text, std::size_t width, std::size_t indent);
// Lines with their common indentation removed and `indent` blanks put in front.
std::string reindent(std::string_view text, std::size_t indent);
std::vector<std::string> split(std::string_view text, char separator);
std::string join(const std::vector<std::string>& parts, std::string_view separator);
// The candidate that a misspelt word most likely meant; "" if none is close.
std::string nearest(std::string_view word, const std::vector<std::string>& candidates);
std::string with_first_upper(std::string text);
// Lowers the first letter unless the word is an abbreviation.
std::string with_first_lower(std::string text);
// "1 pod", "2 pods"
std::string counted(std::uint64_t count, std::string_view noun);

}  // namespace berth::tools
