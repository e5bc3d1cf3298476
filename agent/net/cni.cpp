#include "agent/net/cni.h"

#include <algorithm>
#include <boost/json.hpp>

namespace berth::agent {

namespace json = boost::json;

std::string cni_config(const CniNetwork& network) {
  const json::object range{{"subnet", network.subnet}, {"gateway", network.gateway}};
  const json::object config{{"cniVersion", "1.0.0"},
                            {"name", network.name},
                            {"type", "ptp"},
                            {"mtu", network.mtu},
                            {"ipam",
                             {{"type", "host-local"},
                              {"dataDir", network.leases},
                              {"ranges", json::array{json::array{range}}},
                              {"routes", json::array{json::object{{"dst", "0.0.0.0/0"}}}}}}};
  return json::serialize(config);
}

CniAnswer read_cni_answer(std::string_view text) {
  CniAnswer answer;
  json::error_code error;
  const json::value value = json::parse(text, error);
  const json::object* object = error ? nullptr : value.if_object();
  if (object == nullptr) {
    answer.error = "the network plugin's answer is not JSON";
    return answer;
  }
  const auto text_at = [&](const json::object& from, std::string_view name) {
    const json::value* found = from.if_contains(name);
    return found != nullptr && found->is_string() ? std::string(found->get_string()) : std::string();
  };
  if (object->if_contains("code") != nullptr || object->if_contains("msg") != nullptr) {
    answer.error = text_at(*object, "msg");
    if (const std::string details = text_at(*object, "details"); !details.empty()) answer.error += ": " + details;
    std::replace_if(
        answer.error.begin(), answer.error.end(), [](unsigned char c) { return c < ' '; }, ' ');
    if (answer.error.empty()) answer.error = "the network plugin gave no reason";
    return answer;
  }
  const json::value* addresses = object->if_contains("ips");
  if (addresses != nullptr && addresses->is_array()) {
    for (const json::value& item : addresses->get_array()) {
      const json::object* one = item.if_object();
      if (one == nullptr || !answer.address.empty()) continue;
      const std::string address = text_at(*one, "address");
      answer.address = address.substr(0, address.find('/'));
    }
  }
  if (answer.address.empty()) answer.error = "the network plugin gave no address";
  return answer;
}

}  // namespace berth::agent
