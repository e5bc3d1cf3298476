// The checksum as the store sees it: right, or with a mistake planted, the same for everything. The linker puts this in
// the place of crc32c() (--wrap), in this program alone.
#include "state/store/crc32c.h"
#include "tests/torture/disk.h"

extern "C" {
// NOLINTBEGIN: names that the linker makes
std::uint32_t __real__ZN5berth5store6crc32cESt4spanIKSt4byteLm18446744073709551615EEj(std::span<const std::byte>,
                                                                                      std::uint32_t);
std::uint32_t __wrap__ZN5berth5store6crc32cESt4spanIKSt4byteLm18446744073709551615EEj(std::span<const std::byte> bytes,
                                                                                      std::uint32_t crc) {
  using berth::store::testing::Disk;
  using berth::store::testing::Mistake;
  if (Disk::planted(Mistake::kNoChecksum)) return 7;
  return __real__ZN5berth5store6crc32cESt4spanIKSt4byteLm18446744073709551615EEj(bytes, crc);
}
// NOLINTEND
}
