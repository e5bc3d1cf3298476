// TLS contexts: 1.3 only, one authority, no names: who is who is in the certificates.
#include <openssl/err.h>

#include "api/wire/tls_internal.h"

namespace berth::wire {

using state::Error;
using state::ErrorCode;
using state::Result;

namespace {

Error failed(const std::string& what) { return Error{ErrorCode::kInternal, "", what + ": " + last_tls_error(), 0}; }

std::shared_ptr<TlsContext> new_context() {
  SSL_CTX* raw = SSL_CTX_new(TLS_method());
  if (raw == nullptr) return nullptr;
  auto context = std::make_shared<TlsContext>(raw);
  SSL_CTX_set_min_proto_version(raw, TLS1_3_VERSION);
  // Buffers are given back between records: thousands of idle connections stay small.
  SSL_CTX_set_mode(raw, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  SSL_CTX_set_session_cache_mode(raw, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_num_tickets(raw, 0);
  return context;
}

bool trust(SSL_CTX* context, X509* authority) {
  return X509_STORE_add_cert(SSL_CTX_get_cert_store(context), authority) == 1;
}

// In place of the usual chain building: the peer's last certificate must be the authority of the token, and have signed
// the first, which must be a server's.
int check_fingerprint(X509_STORE_CTX* store, void* argument) {
  const auto* expected = static_cast<const TlsContext*>(argument);
  STACK_OF(X509)* chain = X509_STORE_CTX_get0_untrusted(store);
  const int count = chain == nullptr ? 0 : sk_X509_num(chain);
  X509* server = count < 2 ? nullptr : sk_X509_value(chain, 0);
  X509* authority = count < 2 ? nullptr : sk_X509_value(chain, count - 1);
  const bool good = server != nullptr && fingerprint_of(authority) == expected->fingerprint &&
                    X509_verify(server, X509_get0_pubkey(authority)) == 1 &&
                    X509_check_purpose(server, X509_PURPOSE_SSL_SERVER, 0) == 1;
  if (!good) X509_STORE_CTX_set_error(store, X509_V_ERR_APPLICATION_VERIFICATION);
  return good ? 1 : 0;
}

}  // namespace

Result<std::shared_ptr<TlsContext>> server_tls(const Authority& authority) {
  auto context = new_context();
  if (!context) return failed("cannot set up TLS");
  const std::string pem = authority_pem(authority);
  const CertPtr certificate = read_certificate(pem);
  if (!certificate || !trust(context->native(), certificate.get()))
    return failed("the authority's certificate cannot be used");
  if (SSL_CTX_use_certificate_file(context->native(), (authority.directory + "/server.crt").c_str(),
                                   SSL_FILETYPE_PEM) != 1 ||
      SSL_CTX_use_PrivateKey_file(context->native(), (authority.directory + "/server.key").c_str(), SSL_FILETYPE_PEM) !=
          1) {
    return failed("the server's certificate in " + authority.directory + " cannot be used");
  }
  SSL_CTX_add1_chain_cert(context->native(), certificate.get());
  SSL_CTX_set_verify(context->native(), SSL_VERIFY_PEER, nullptr);  // asked for, not required: a joiner has none yet
  return context;
}

Result<std::shared_ptr<TlsContext>> client_tls(std::string_view ca_pem, std::string_view cert_pem,
                                               std::string_view key_pem) {
  auto context = new_context();
  if (!context) return failed("cannot set up TLS");
  const CertPtr authority = read_certificate(ca_pem);
  const CertPtr certificate = read_certificate(cert_pem);
  const KeyPtr key = read_key(key_pem);
  if (!authority || !certificate || !key || !trust(context->native(), authority.get()) ||
      SSL_CTX_use_certificate(context->native(), certificate.get()) != 1 ||
      SSL_CTX_use_PrivateKey(context->native(), key.get()) != 1 || SSL_CTX_check_private_key(context->native()) != 1) {
    return failed("the certificate and key of this identity cannot be used");
  }
  SSL_CTX_set_verify(context->native(), SSL_VERIFY_PEER, nullptr);
  return context;
}

Result<std::shared_ptr<TlsContext>> joining_tls(std::string_view authority_fingerprint) {
  auto context = new_context();
  if (!context) return failed("cannot set up TLS");
  context->fingerprint = std::string(authority_fingerprint);
  SSL_CTX_set_verify(context->native(), SSL_VERIFY_PEER, nullptr);
  SSL_CTX_set_cert_verify_callback(context->native(), check_fingerprint, context.get());
  return context;
}

}  // namespace berth::wire
