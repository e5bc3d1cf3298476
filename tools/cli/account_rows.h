// Accounts, their users, qualities of service and places in the queue, as rows.
#pragma once

#include <string>
#include <vector>

#include "tools/cli/rows.h"

namespace berth::tools {

struct ShareLine {  // a row of the tree, with what is above it
  state::ShareRow row;
  std::size_t depth = 0;
};
std::vector<ShareLine> share_lines(const state::AccountPage& page);

// "cpus 8, job-time 1h00m"; "" if there is none.
std::string limits_text(const state::Limits& limits);

const std::vector<Column<ShareLine>>& columns_for(const ShareLine*);
void write_fields(JsonWriter& json, const ShareLine& line);

}  // namespace berth::tools
