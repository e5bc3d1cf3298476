// A store in a directory of its own, with batches to put into it and a model of what it must hold.
#pragma once

#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <string>
#include <vector>

#include "state/event_codec.h"
#include "state/store/store.h"
#include "tests/state/random_batches.h"

namespace berth::store::testing {

class StoreTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = parent_ + "/berth-store-XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    root_ = pattern;
    options_.directory = root_ + "/data";
    options_.segment_bytes = 1 << 20;
  }
  void TearDown() override {
    store_.reset();
    std::error_code ignored;
    std::filesystem::remove_all(root_, ignored);
  }

  // Opens and holds the store; the recovered cluster must be the model.
  void open() {
    auto opened = open_store(options_);
    ASSERT_TRUE(opened) << opened.error().message;
    store_ = std::move(opened->store);
    recovered_ = std::move(opened->recovered);
    ASSERT_EQ(recovered_.cluster.applied_index(), store_->last_index());
  }
  void close() { store_.reset(); }
  // Why the directory does not open; "" if it does.
  std::string refusal() {
    auto opened = open_store(options_);
    return opened ? "" : opened.error().message;
  }

  // The next batch of the model, encoded.
  std::string next() { return state::encode_batch(random_.next(model_)); }
  // Appends `groups` groups of `size` batches.
  void append(int groups, int size) {
    for (int g = 0; g < groups; ++g) {
      std::vector<std::string> records;
      for (int i = 0; i < size; ++i) records.push_back(next());
      const auto done = store_->append(store_->last_index() + 1, records);
      ASSERT_TRUE(done) << done.error().message;
    }
  }
  void expect_model() {
    EXPECT_EQ(recovered_.cluster.applied_index(), model_.applied_index());
    EXPECT_EQ(recovered_.cluster.hash(), model_.hash());
  }

  std::vector<std::string> files(const std::string& part) const {
    std::vector<std::string> found;
    for (const auto& entry : std::filesystem::directory_iterator(options_.directory + "/" + part))
      found.push_back(entry.path().string());
    std::sort(found.begin(), found.end());
    return found;
  }
  static std::string read(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  static void write(const std::string& path, const std::string& bytes) {
    std::ofstream out(path, std::ios::binary | std::ios::trunc);
    out.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    ASSERT_TRUE(out.good()) << path;
  }

  std::string parent_ = std::filesystem::temp_directory_path().string();
  std::string root_;
  StoreOptions options_;
  std::unique_ptr<Store> store_;
  Recovered recovered_;
  state::Cluster model_;
  state::testing::RandomBatches random_{42};
};

}  // namespace berth::store::testing
