// Where Berth keeps things when nobody says otherwise: the same answer for the commands, the server and the agent.
// Reads the environment; cheap.
#pragma once

#include <string>

namespace berth::tools {

// /run/berth/berth.sock for root, or where it exists; else $XDG_RUNTIME_DIR/berth.sock, else /tmp/berth-UID/berth.sock.
std::string default_socket();
// /var/lib/berth for root, else $XDG_DATA_HOME/berth or ~/.local/share/berth.
std::string default_data_directory();
// $XDG_CONFIG_HOME/berth or ~/.config/berth: what `berth login` keeps.
std::string default_identity_directory();
// The server that a command speaks to: $BERTH_SERVER, else that of the last `berth login`, else the default socket.
std::string default_server(const std::string& identity_directory);
// An absolute path, "." and all; relative ones start at the current directory. Symbolic links stay as they are.
std::string absolute_path(const std::string& path);
std::string current_directory();  // "" if it is gone

}  // namespace berth::tools
