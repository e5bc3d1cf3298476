// OpenSSL objects with owners, for the files of api/wire that speak to it.
#pragma once

#include <memory>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <string>

#include "api/wire/tls.h"

namespace berth::wire {

template <auto Free>
struct Freer {
  template <class T>
  void operator()(T* p) const {
    Free(p);
  }
};
using KeyPtr = std::unique_ptr<EVP_PKEY, Freer<EVP_PKEY_free>>;
using CertPtr = std::unique_ptr<X509, Freer<X509_free>>;
using RequestPtr = std::unique_ptr<X509_REQ, Freer<X509_REQ_free>>;
using BioPtr = std::unique_ptr<BIO, Freer<BIO_free_all>>;
using SslPtr = std::unique_ptr<SSL, Freer<SSL_free>>;

class TlsContext {
 public:
  explicit TlsContext(SSL_CTX* context) : context_(context) {}
  ~TlsContext() { SSL_CTX_free(context_); }
  TlsContext(const TlsContext&) = delete;
  TlsContext& operator=(const TlsContext&) = delete;
  SSL_CTX* native() const { return context_; }
  std::string fingerprint;  // what a joining context expects

 private:
  SSL_CTX* context_;
};

std::string common_name_of(X509* certificate);  // "" if there is none
std::string fingerprint_of(X509* certificate);  // SHA-256 of the DER, hex
std::string last_tls_error();                   // OpenSSL's newest complaint as one line, and clears the queue
CertPtr read_certificate(std::string_view pem);
KeyPtr read_key(std::string_view pem);

}  // namespace berth::wire
