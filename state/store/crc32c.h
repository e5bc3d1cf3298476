// CRC-32C (Castagnoli), as in iSCSI and ext4: with the SSE4.2 instruction where the CPU has it, with tables otherwise.
// crc32c(b, crc32c(a)) is the checksum of a followed by b.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace berth::store {

std::uint32_t crc32c(std::span<const std::byte> bytes, std::uint32_t crc = 0);
// The portable way, whatever the CPU: what the test holds the fast way against.
std::uint32_t crc32c_by_table(std::span<const std::byte> bytes, std::uint32_t crc = 0);

}  // namespace berth::store
