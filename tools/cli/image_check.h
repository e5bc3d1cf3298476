// Whether the image of a job can be there, as far as this machine can tell.
#pragma once

#include <string>

#include "state/result.h"

namespace berth::tools {

// `image` as state/image_name.h says, a path in it absolute. An OCI layout that is here must have the tag. A path that
// is not here may still be on the nodes: that is worth a warning (`warning` is a line, "" for none), no more. A
// registry is left to the nodes.
state::Status check_image(const std::string& image, std::string& warning);

}  // namespace berth::tools
