#include "agent/io/order_file.h"

#include <span>
#include <sstream>

#include "agent/io/files.h"
#include "api/wire/message.h"

namespace berth::agent {

using namespace state;

namespace {

constexpr std::size_t kFrameHead = 4;  // the length, which says whether the file is whole

}  // namespace

Status write_order(const std::string& directory, const StartOrder& order, const PodToStart& pod) {
  StartPods start;
  start.orders.push_back(order);
  start.orders[0].pods = {pod};
  return write_file(directory + "/order", wire::encode_frame({0, std::move(start)}));
}

std::optional<StartOrder> read_order(const std::string& directory) {
  const auto bytes = read_file(directory + "/order", wire::kMaxFrameBytes);
  if (!bytes || bytes->size() < kFrameHead) return std::nullopt;
  auto message = wire::decode_message(std::as_bytes(std::span(*bytes)).subspan(kFrameHead));
  if (!message) return std::nullopt;
  auto* start = std::get_if<StartPods>(&message->body);
  if (start == nullptr || start->orders.size() != 1 || start->orders[0].pods.size() != 1) return std::nullopt;
  return std::move(start->orders[0]);
}

void write_stop(const std::string& directory, const StopMark& mark) {
  const std::string path = directory + "/stop";
  if (read_stop(directory)) return;  // the first reason stands
  // If this fails (a full disk), the pod is stopped all the same.
  (void)write_file_aside(path, std::to_string(static_cast<int>(mark.state)) + " " + std::to_string(mark.at) + "\n");
}

std::optional<StopMark> read_stop(const std::string& directory) {
  const auto text = read_file(directory + "/stop", 256);
  if (!text) return std::nullopt;
  std::istringstream fields(*text);
  int state = 0;
  StopMark mark;
  if (!(fields >> state >> mark.at) || state < static_cast<int>(PodState::kSucceeded) ||
      state > static_cast<int>(PodState::kNodeLost)) {
    return std::nullopt;
  }
  mark.state = static_cast<PodState>(state);
  return mark;
}

}  // namespace berth::agent
