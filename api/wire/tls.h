// Certificates and tokens. The server's first start makes a certificate authority (EC P-256) in its data directory;
// nodes and remote users get certificates from it by proving a token. TLS 1.3 only. OpenSSL stays inside tls.cpp and
// pki.cpp.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "state/result.h"

namespace berth::wire {

class TlsContext;  // holds an SSL_CTX; defined in tls_internal.h

// A directory with authority.crt, authority.key, server.crt, server.key (keys 0600); made if absent. The fingerprint is
// the SHA-256 of the authority's certificate (DER), hex.
struct Authority {
  std::string directory;
  std::string fingerprint;
};
state::Result<Authority> open_authority(const std::string& directory);
// Signs the request's key for `common_name` ("node:NAME", "user:NAME"), whatever subject the request has.
state::Result<std::string> sign_request(const Authority& authority, std::string_view csr_pem,
                                        std::string_view common_name, std::int64_t valid_days);
std::string authority_pem(const Authority& authority);

struct KeyAndRequest {
  std::string key_pem, csr_pem;
};
state::Result<KeyAndRequest> make_key_and_request(std::string_view common_name);

// Asks for a client certificate and accepts none (then the peer is kUnproven and may only join).
state::Result<std::shared_ptr<TlsContext>> server_tls(const Authority& authority);
// Trusts exactly the authority in ca_pem; presents the certificate.
state::Result<std::shared_ptr<TlsContext>> client_tls(std::string_view ca_pem, std::string_view cert_pem,
                                                      std::string_view key_pem);
// For joining: trusts a chain that ends in a certificate with this SHA-256 fingerprint, presents nothing.
state::Result<std::shared_ptr<TlsContext>> joining_tls(std::string_view authority_fingerprint);

// A token line: "berth1-<fingerprint hex 64>-<id>-<secret>".
struct JoinToken {
  std::string fingerprint, id, secret;
};
std::string format_token(const JoinToken& token);
state::Result<JoinToken> parse_token(std::string_view text);  // errors never echo the secret
JoinToken make_token(const Authority& authority);             // fresh random id and secret
std::string hash_secret(std::string_view secret);             // SHA-256 hex
std::string random_hex(std::size_t bytes);

}  // namespace berth::wire
