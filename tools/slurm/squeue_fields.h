// What squeue shows of a job, by letter (-o) and by name (-O).
#pragma once

#include <string>
#include <vector>

#include "state/units.h"
#include "tools/slurm/columns.h"
#include "tools/slurm/jobs.h"

namespace berth::tools::slurm {

const std::vector<Field<Record>>& squeue_fields();
// True if it takes the job's details to show the field.
bool of_details(const Field<Record>& field);
// True if it takes its place in the queue.
bool of_places(const Field<Record>& field);
const Field<Record>* squeue_letter(char letter);

// The time that lengths are counted to: one for all lines of a listing.
void set_listing_time(state::TimeUs now);
state::TimeUs listing_time();

std::string user_name(std::uint32_t uid, const std::string& known);

}  // namespace berth::tools::slurm
