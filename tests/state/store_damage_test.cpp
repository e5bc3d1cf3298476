// Torn tails are cut and reported, wherever the write stopped; damage to what was acknowledged is refused, wherever it
// is.
#include <array>
#include <cstring>
#include <gtest/gtest.h>
#include <unistd.h>

#include "state/store/segment.h"
#include "tests/state/dice.h"
#include "tests/state/store_fixture.h"

namespace berth::store {
namespace {

class StoreDamageTest : public testing::StoreTest {
 protected:
  void SetUp() override {
    // Thousands of opens: in memory where the machine has such a place.
    if (::access("/dev/shm", W_OK) == 0) parent_ = "/dev/shm";
    testing::StoreTest::SetUp();
    options_.segment_bytes = 16 << 10;
  }
  // A small batch, so that every byte of it can have its turn.
  std::string next_small() {
    state::JobSubmitted job;
    job.id = state::JobId{model_.last_job_id().value + 1};
    job.spec.launch = "launch " + std::to_string(job.id.value * 7919);
    const state::Batch batch{model_.applied_index() + 1, model_.applied_at() + 1, {job}};
    EXPECT_TRUE(model_.apply(batch));
    return state::encode_batch(batch);
  }
  void note_hash() {
    hashes_.resize(model_.applied_index() + 1);
    hashes_.back() = model_.hash();
  }
  // Appends one group of `size` small batches and notes the cluster's hash around each.
  void append_noted(int size) {
    std::vector<std::string> records;
    note_hash();
    for (int i = 0; i < size; ++i) {
      records.push_back(next_small());
      note_hash();
    }
    ASSERT_TRUE(store_->append(store_->last_index() + 1, records));
  }
  // Where each record of the only segment begins, and where the last ends.
  std::vector<std::uint64_t> offsets() {
    auto reader = SegmentReader::open(files("journal").back());
    std::vector<std::uint64_t> out{reader->offset()};
    Record record;
    while (reader->next(record)) out.push_back(reader->offset());
    return out;
  }

  std::vector<std::uint64_t> hashes_;  // by index
};

TEST_F(StoreDamageTest, AWriteThatStoppedAtAnyByteOfTheLastGroupLosesOnlyThatGroupsRest) {
  open();
  for (int g = 0; g < 4; ++g) append_noted(2);
  append_noted(3);
  close();
  const std::string path = files("journal").back();
  const std::string whole = read(path);
  const auto at = offsets();
  const std::size_t first_of_last_group = at[8];
  for (const bool zeros : {false, true}) {  // the file ends there, or reserved zeros follow
    for (std::size_t length = first_of_last_group; length <= whole.size(); ++length) {
      std::string torn = whole.substr(0, length);
      if (zeros) torn.resize(options_.segment_bytes);
      write(path, torn);
      open();
      ASSERT_FALSE(HasFatalFailure()) << length;
      // The last record that is whole, its padding aside.
      std::size_t kept = 8;
      auto reader = SegmentReader::open(path);
      Record record;
      while (reader->next(record)) kept = record.index;
      ASSERT_EQ(store_->last_index(), kept) << length;
      ASSERT_EQ(recovered_.cluster.hash(), hashes_[kept]) << length;
      ASSERT_EQ(recovered_.torn_bytes != 0, length > at[kept] && torn.find_last_not_of('\0') >= at[kept]) << length;
      ASSERT_EQ(recovered_.torn_file.empty(), recovered_.torn_bytes == 0);
      close();
    }
  }
}

TEST_F(StoreDamageTest, AfterATornTailTheJournalGoesOn) {
  open();
  append_noted(2);
  append_noted(2);
  close();
  const std::string path = files("journal").back();
  write(path, read(path).substr(0, offsets()[2] + 5));
  open();
  EXPECT_EQ(recovered_.torn_bytes, 5U);
  EXPECT_EQ(recovered_.torn_file, path);
  ASSERT_EQ(store_->last_index(), 2U);
  model_ = std::move(recovered_.cluster);
  append(10, 3);
  close();
  open();
  EXPECT_EQ(recovered_.torn_bytes, 0U);
  expect_model();
}

TEST_F(StoreDamageTest, PagesOfTheLastGroupThatReachedTheDiskOutOfOrderAreATornTail) {
  open();
  append_noted(3);
  append_noted(4);
  close();
  const std::string path = files("journal").back();
  std::string bytes = read(path);
  const auto at = offsets();
  std::fill(bytes.begin() + static_cast<long>(at[4]), bytes.begin() + static_cast<long>(at[5]),
            '\0');  // records 6 and 7 are whole
  write(path, bytes);
  open();
  EXPECT_EQ(store_->last_index(), 4U);
  EXPECT_GT(recovered_.torn_bytes, 0U);
  EXPECT_EQ(recovered_.cluster.hash(), hashes_[4]);
}

TEST_F(StoreDamageTest, AFlippedBitAnywhereInAnAcknowledgedGroupIsRefusedWithFileAndOffset) {
  open();
  for (int g = 0; g < 6; ++g) append_noted(1 + g % 3);
  close();
  const std::string path = files("journal").back();
  const std::string whole = read(path);
  const auto at = offsets();
  const std::size_t last_group = at[at.size() - 4];  // the sixth group has three records
  state::testing::Dice dice(5);
  std::size_t record = 0;
  int refused = 0;
  for (std::size_t i = 0; i < last_group; ++i) {
    if (i >= sizeof(SegmentHeader) && i >= at[record + 1]) ++record;
    std::string bad = whole;
    bad[i] = static_cast<char>(bad[i] ^ (1 << dice() % 8));
    write(path, bad);
    auto opened = open_store(options_);
    if (opened) {
      // Only padding is not covered: nothing that anybody wrote.
      ASSERT_EQ(opened->recovered.cluster.hash(), model_.hash()) << "offset " << i;
      continue;
    }
    ++refused;
    const std::string& line = opened.error().message;
    ASSERT_NE(line.find(path + " "), std::string::npos) << line;
    const bool in_header = i < sizeof(SegmentHeader);
    ASSERT_NE(line.find(" at offset " + std::to_string(in_header ? 0 : at[record]) + ":"), std::string::npos)
        << i << ": " << line;
    ASSERT_EQ(line.find('\n'), std::string::npos);
    ASSERT_EQ(read(path), bad);  // a refusal changes nothing
  }
  EXPECT_GT(refused, static_cast<int>(last_group) * 9 / 10);
}

TEST_F(StoreDamageTest, AnythingWrongInAClosedSegmentIsRefused) {
  options_.segment_bytes = 8 << 10;
  open();
  while (files("journal").size() < 3) append(2, 2);
  close();
  state::testing::Dice dice(6);
  for (int which = 0; which < 2; ++which) {
    const std::string path = files("journal")[static_cast<std::size_t>(which)];
    const std::string whole = read(path);
    for (int i = 0; i < 150; ++i) {
      std::string bad = whole;
      if (i % 3 == 0) {
        bad.resize(dice() % (whole.size() - 8));
      } else {
        const std::size_t from = dice() % whole.size();
        for (std::size_t k = from; k < std::min(from + 16, whole.size()); ++k) bad[k] = static_cast<char>(dice());
      }
      write(path, bad);
      const std::string line = refusal();
      ASSERT_NE(line.find(path + " is damaged at offset "), std::string::npos) << i << ": " << line;
    }
    write(path, whole);
  }
  EXPECT_EQ(refusal(), "");
}

TEST_F(StoreDamageTest, ARecordThatAUserPlantedInAPayloadIsNotTakenForOne) {
  open();
  append_noted(1);
  // Valid records of later groups, as another cluster's journal has them and a user might submit them.
  std::string forged;
  {
    auto other = SegmentWriter::create(root_, 5, 8 << 10);
    ASSERT_TRUE(other);
    for (std::uint64_t i = 5; i < 8; ++i) {
      ASSERT_TRUE(other->append(i, std::vector<std::string>{"forged"}));
    }
    forged = read(other->path()).substr(sizeof(SegmentHeader), other->offset() - sizeof(SegmentHeader));
  }
  state::Batch batch{model_.applied_index() + 1, model_.applied_at(), {}};
  state::JobSubmitted job;
  job.id = state::JobId{model_.last_job_id().value + 1};
  for (std::size_t shift = 0; shift < 8; ++shift)
    job.spec.launch += std::string(shift, 'x') + forged;  // at any alignment
  batch.events.emplace_back(job);
  ASSERT_TRUE(store_->append(2, std::vector<std::string>{state::encode_batch(batch)}));
  close();
  const std::string path = files("journal").back();
  std::string bytes = read(path);
  bytes[offsets()[1] + 4] ^= 1;
  write(path, bytes);
  open();
  EXPECT_EQ(store_->last_index(), 1U);
  EXPECT_GT(recovered_.torn_bytes, 0U);
}

TEST_F(StoreDamageTest, TheChecksumsOfARecordDependOnItsSegmentItsIndexAndItsPayload) {
  const auto header_of = [this](const std::string& name, std::uint64_t index, const std::string& payload) {
    std::filesystem::create_directory(root_ + "/" + name);
    auto writer = SegmentWriter::create(root_ + "/" + name, index, 4 << 10);
    EXPECT_TRUE(writer);
    EXPECT_TRUE(writer->append(index, std::vector<std::string>{payload}));
    RecordHeader header;
    std::memcpy(&header, read(writer->path()).data() + sizeof(SegmentHeader), sizeof(header));
    return header;
  };
  const RecordHeader one = header_of("one", 1, "payload");
  const RecordHeader other_salt = header_of("two", 1, "payload");
  EXPECT_NE(one.crc, other_salt.crc);
  EXPECT_NE(one.check, other_salt.check);
  // Within one segment, where the salt is the same.
  auto writer = SegmentWriter::create(root_, 1, 4 << 10);
  ASSERT_TRUE(writer->append(1, std::vector<std::string>{"payload", "payload", "paytoad"}));
  const std::string bytes = read(writer->path());
  std::array<RecordHeader, 3> headers;
  for (std::size_t i = 0; i < headers.size(); ++i)
    std::memcpy(&headers[i], bytes.data() + sizeof(SegmentHeader) + i * (sizeof(RecordHeader) + 8),
                sizeof(RecordHeader));
  EXPECT_NE(headers[0].crc, headers[1].crc);
  EXPECT_NE(headers[0].check, headers[1].check);
  EXPECT_NE(headers[1].crc, headers[2].crc);
}

TEST_F(StoreDamageTest, ATornGroupFullOfPlantedHeadersIsSearchedInNoTime) {
  options_.segment_bytes = 32 << 20;
  open();
  append_noted(1);
  // Headers that look right but for their checksums, each of a record as long as half of the payload: to sum up every
  // one of them would take minutes.
  std::string planted(8 << 20, '\0');
  RecordHeader header;
  header.length = static_cast<std::uint32_t>(planted.size() / 2);
  header.index = 7;
  for (std::size_t at = 0; at + sizeof(header) <= planted.size(); at += sizeof(header))
    std::memcpy(planted.data() + at, &header, sizeof(header));
  state::JobSubmitted job;
  job.id = state::JobId{model_.last_job_id().value + 1};
  job.spec.launch = planted;
  const state::Batch batch{2, model_.applied_at(), {job}};
  ASSERT_TRUE(store_->append(2, std::vector<std::string>{state::encode_batch(batch)}));
  close();
  const std::string path = files("journal").back();
  std::string bytes = read(path);
  bytes[offsets()[1] + 4] ^= 1;
  write(path, bytes);
  open();
  EXPECT_EQ(store_->last_index(), 1U);
  EXPECT_GT(recovered_.torn_bytes, planted.size() / 2);
}

TEST_F(StoreDamageTest, AJournalOfAnotherHistoryIsRefused) {
  options_.segment_bytes = 8 << 10;
  open();
  while (files("journal").size() < 3) append(2, 2);
  close();
  const auto ours = files("journal");
  const std::string mixed = root_ + "/mixed";
  std::filesystem::copy(options_.directory, mixed, std::filesystem::copy_options::recursive);
  // The second segment of a run with other batches under the same index cannot follow from the first.
  const std::string path = mixed + "/journal/" + std::filesystem::path(ours[1]).filename().string();
  std::filesystem::remove(path);
  const std::uint64_t first = std::stoull(std::filesystem::path(ours[1]).stem().string());
  const std::uint64_t end = std::stoull(std::filesystem::path(ours[2]).stem().string());
  {
    auto writer = SegmentWriter::create(mixed + "/journal", first, 8 << 10);
    ASSERT_TRUE(writer);
    std::vector<std::string> records;
    for (std::uint64_t i = first; i < end; ++i) {
      records.push_back(state::encode_batch({i, 1, {state::NodeRemoved{state::NodeId{4'000'000}}}}));
    }
    ASSERT_TRUE(writer->append(first, records));
    writer->close();
  }
  options_.directory = mixed;
  EXPECT_NE(refusal().find(path + " is damaged at offset 32: an event does not follow from the state"),
            std::string::npos)
      << refusal();
}

}  // namespace
}  // namespace berth::store
