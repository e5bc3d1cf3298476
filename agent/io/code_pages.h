// Gives back the pages of code that only the start needed: they stay in the page cache, and those that are needed again
// come back one by one. Any thread; safe at any time.
#pragma once

namespace berth::agent {

void give_back_code_pages();

}  // namespace berth::agent
