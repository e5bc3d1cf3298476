// DnsServer: dnsmasq, fed with the names of services. It outlives the agent, because pods need it; the next agent takes
// it over. Loop thread only.
#pragma once

#include <memory>
#include <string>
#include <sys/types.h>

#include "agent/net/commands.h"

namespace berth::agent {

class DnsServer {
 public:
  // Its files are below `directory`, which anybody must be able to enter: dnsmasq gives up being root.
  DnsServer(wire::Loop& loop, Commands& commands, std::string directory);

  // From now on it answers at that address. Nothing is started twice.
  void start(const std::string& address);
  // What is written is what there is; it is told, or started anew if it has to read records again.
  void set_names(std::string hosts, std::string records);
  bool wanted() const { return !address_.empty(); }
  const std::string& trouble() const { return trouble_; }  // why it does not run, one line; "" if it does or need not
  void end();                                              // for good; waits for nothing

 private:
  void launch();
  void watch(pid_t pid);
  pid_t living() const;
  void retry();
  bool write_files();

  wire::Loop& loop_;
  Commands& commands_;
  const std::string directory_;
  std::string address_, hosts_, records_, trouble_, written_config_;
  bool starting_ = false, again_ = false;
  pid_t pid_ = -1;
  Fd pidfd_;
  std::shared_ptr<wire::Loop::Watch> watch_;
  std::shared_ptr<wire::Loop::Timer> timer_;
};

}  // namespace berth::agent
