// berth slurm import: a site's slurm.conf, and what lies beside it, as Berth's configuration.
#pragma once

#include <string>
#include <vector>

#include "state/result.h"
#include "tools/slurm/slurm_conf.h"

namespace berth::tools::slurm {

struct SiteFiles {
  std::vector<ConfLine> slurm, gres, cgroup;
  std::string topology;  // the path of topology.conf; "" if there is none
};

// slurm.conf, and of gres.conf, cgroup.conf and topology.conf in its directory those that are there.
state::Result<SiteFiles> read_site(const std::string& slurm_conf);

// The server's YAML, then as comments what to start on each node, and each line that has no equivalent, with the
// reason.
state::Result<std::string> import_site(const SiteFiles& site);

}  // namespace berth::tools::slurm
