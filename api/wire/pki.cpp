// The certificate authority, certificates, tokens.
#include <array>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <fstream>
#include <openssl/err.h>
#include <openssl/rand.h>
#include <sstream>
#include <sys/stat.h>
#include <unistd.h>

#include "api/wire/tls_internal.h"

namespace berth::wire {

using state::Error;
using state::ErrorCode;
using state::Result;
using state::Status;
using state::Unit;

namespace {

Error internal(std::string message) { return Error{ErrorCode::kInternal, "", std::move(message), 0}; }

std::string to_hex(const unsigned char* data, std::size_t size) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string hex;
  hex.reserve(size * 2);
  for (std::size_t i = 0; i < size; ++i) {
    hex += kDigits[data[i] >> 4];
    hex += kDigits[data[i] & 15];
  }
  return hex;
}

BioPtr bio_of(std::string_view text) { return BioPtr(BIO_new_mem_buf(text.data(), static_cast<int>(text.size()))); }

std::string text_of(BIO* bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  return {data, static_cast<std::size_t>(size)};
}

std::string pem_of(X509* certificate) {
  const BioPtr bio(BIO_new(BIO_s_mem()));
  PEM_write_bio_X509(bio.get(), certificate);
  return text_of(bio.get());
}

std::string pem_of(EVP_PKEY* key) {
  const BioPtr bio(BIO_new(BIO_s_mem()));
  PEM_write_bio_PrivateKey(bio.get(), key, nullptr, nullptr, 0, nullptr, nullptr);
  return text_of(bio.get());
}

Result<std::string> read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return internal("cannot read " + path + ": " + std::strerror(errno));
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

// Whole or not at all: a crash in the middle leaves no half file under the name.
Status write_file(const std::string& path, const std::string& text, mode_t mode) {
  const std::string temporary = path + ".new";
  ::unlink(temporary.c_str());  // of a crash, with whatever mode it had
  const int fd = ::open(temporary.c_str(), O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, mode);
  if (fd < 0) return internal("cannot write " + path + ": " + std::strerror(errno));
  const bool good = ::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size()) && ::fsync(fd) == 0;
  ::close(fd);
  if (!good || ::rename(temporary.c_str(), path.c_str()) != 0)
    return internal("cannot write " + path + ": " + std::strerror(errno));
  return Unit{};
}

void add_extension(X509* certificate, X509* issuer, int nid, const char* value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &context, nid, value);
  if (extension == nullptr) return;
  X509_add_ext(certificate, extension, -1);
  X509_EXTENSION_free(extension);
}

enum class Purpose { kAuthority, kServer, kClient };

// `issuer` and `issuer_key` null: signed by itself.
CertPtr make_certificate(EVP_PKEY* key, std::string_view common_name, std::int64_t days, Purpose purpose, X509* issuer,
                         EVP_PKEY* issuer_key) {
  CertPtr certificate(X509_new());
  X509_set_version(certificate.get(), 2);
  std::array<unsigned char, 16> serial{};
  RAND_bytes(serial.data(), static_cast<int>(serial.size()));
  serial[0] &= 0x7f;
  BIGNUM* number = BN_bin2bn(serial.data(), static_cast<int>(serial.size()), nullptr);
  BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate.get()));
  BN_free(number);
  // An hour back, for clocks that differ a little.
  X509_gmtime_adj(X509_getm_notBefore(certificate.get()), -3600);
  X509_time_adj_ex(X509_getm_notAfter(certificate.get()), static_cast<int>(days), 0, nullptr);
  X509_set_pubkey(certificate.get(), key);
  X509_NAME* name = X509_get_subject_name(certificate.get());
  // The type by itself, not MBSTRING_UTF8: that would refuse names of more than 64 bytes, and a node may have 255.
  X509_NAME_add_entry_by_txt(name, "CN", V_ASN1_UTF8STRING, reinterpret_cast<const unsigned char*>(common_name.data()),
                             static_cast<int>(common_name.size()), -1, 0);
  X509* signer = issuer == nullptr ? certificate.get() : issuer;
  X509_set_issuer_name(certificate.get(), X509_get_subject_name(signer));
  const bool authority = purpose == Purpose::kAuthority;
  add_extension(certificate.get(), signer, NID_basic_constraints,
                authority ? "critical,CA:TRUE,pathlen:0" : "critical,CA:FALSE");
  add_extension(certificate.get(), signer, NID_key_usage,
                authority ? "critical,keyCertSign" : "critical,digitalSignature");
  add_extension(certificate.get(), signer, NID_subject_key_identifier, "hash");
  if (!authority) {
    // A node's certificate must not pass for the server's: the purposes keep them apart.
    add_extension(certificate.get(), signer, NID_ext_key_usage,
                  purpose == Purpose::kServer ? "serverAuth" : "clientAuth");
    add_extension(certificate.get(), signer, NID_authority_key_identifier, "keyid:always");
  }
  if (X509_sign(certificate.get(), issuer_key == nullptr ? key : issuer_key, EVP_sha256()) == 0) return nullptr;
  return certificate;
}

Status make_authority(const std::string& directory) {
  const KeyPtr authority_key(EVP_EC_gen("P-256"));
  const KeyPtr server_key(EVP_EC_gen("P-256"));
  if (!authority_key || !server_key) return internal("cannot make a key: " + last_tls_error());
  const CertPtr authority =
      make_certificate(authority_key.get(), "berth authority", 20 * 365, Purpose::kAuthority, nullptr, nullptr);
  if (!authority) return internal("cannot make the authority: " + last_tls_error());
  const CertPtr server =
      make_certificate(server_key.get(), "server", 20 * 365, Purpose::kServer, authority.get(), authority_key.get());
  if (!server) return internal("cannot make the server's certificate: " + last_tls_error());
  // The authority's certificate last: where it is, the rest is whole.
  const std::pair<const char*, std::pair<std::string, mode_t>> files[] = {
      {"/authority.key", {pem_of(authority_key.get()), 0600}},
      {"/server.key", {pem_of(server_key.get()), 0600}},
      {"/server.crt", {pem_of(server.get()), 0644}},
      {"/authority.crt", {pem_of(authority.get()), 0644}},
  };
  for (const auto& [name, content] : files) {
    if (Status done = write_file(directory + name, content.first, content.second); !done) return done;
  }
  return Unit{};
}

}  // namespace

std::string last_tls_error() {
  const unsigned long code = ERR_peek_last_error();
  ERR_clear_error();
  if (code == 0) return "unknown reason";
  const char* reason = ERR_reason_error_string(code);
  return reason == nullptr ? "error " + std::to_string(code) : reason;
}

std::string common_name_of(X509* certificate) {
  X509_NAME* name = X509_get_subject_name(certificate);
  const int at = X509_NAME_get_index_by_NID(name, NID_commonName, -1);
  if (at < 0) return "";
  unsigned char* text = nullptr;
  const int size = ASN1_STRING_to_UTF8(&text, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, at)));
  if (size < 0) return "";
  std::string out(reinterpret_cast<char*>(text), static_cast<std::size_t>(size));
  OPENSSL_free(text);
  return out;
}

std::string fingerprint_of(X509* certificate) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned size = 0;
  if (X509_digest(certificate, EVP_sha256(), digest.data(), &size) == 0) return "";
  return to_hex(digest.data(), size);
}

CertPtr read_certificate(std::string_view pem) {
  const BioPtr bio = bio_of(pem);
  return CertPtr(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr));
}

KeyPtr read_key(std::string_view pem) {
  const BioPtr bio = bio_of(pem);
  return KeyPtr(PEM_read_bio_PrivateKey(bio.get(), nullptr, nullptr, nullptr));
}

Result<Authority> open_authority(const std::string& directory) {
  if (::mkdir(directory.c_str(), 0700) != 0 && errno != EEXIST) {
    return internal("cannot make " + directory + ": " + std::strerror(errno));
  }
  struct stat info {};
  if (::stat((directory + "/authority.crt").c_str(), &info) != 0) {
    if (Status made = make_authority(directory); !made) return made.error();
  }
  const auto pem = read_file(directory + "/authority.crt");
  if (!pem) return pem.error();
  const CertPtr certificate = read_certificate(*pem);
  if (!certificate) return internal(directory + "/authority.crt is not a certificate");
  return Authority{directory, fingerprint_of(certificate.get())};
}

std::string authority_pem(const Authority& authority) {
  const auto pem = read_file(authority.directory + "/authority.crt");
  return pem.ok() ? *pem : "";
}

Result<std::string> sign_request(const Authority& authority, std::string_view csr_pem, std::string_view common_name,
                                 std::int64_t valid_days) {
  const BioPtr bio = bio_of(csr_pem);
  const RequestPtr request(PEM_read_bio_X509_REQ(bio.get(), nullptr, nullptr, nullptr));
  if (!request) return state::invalid("request", "the certificate request is malformed");
  EVP_PKEY* key = X509_REQ_get0_pubkey(request.get());
  if (key == nullptr || X509_REQ_verify(request.get(), key) != 1) {
    return state::invalid("request", "the certificate request is not signed by its own key");
  }
  const auto pem = read_file(authority.directory + "/authority.crt");
  if (!pem) return pem.error();
  const auto key_pem = read_file(authority.directory + "/authority.key");
  if (!key_pem) return key_pem.error();
  const CertPtr issuer = read_certificate(*pem);
  const KeyPtr issuer_key = read_key(*key_pem);
  if (!issuer || !issuer_key)
    return internal("the authority in " + authority.directory + " cannot be read: " + last_tls_error());
  const CertPtr certificate =
      make_certificate(key, common_name, valid_days, Purpose::kClient, issuer.get(), issuer_key.get());
  if (!certificate) return internal("cannot sign: " + last_tls_error());
  return pem_of(certificate.get());
}

Result<KeyAndRequest> make_key_and_request(std::string_view common_name) {
  const KeyPtr key(EVP_EC_gen("P-256"));
  const RequestPtr request(X509_REQ_new());
  if (!key || !request) return internal("cannot make a key: " + last_tls_error());
  X509_NAME_add_entry_by_txt(X509_REQ_get_subject_name(request.get()), "CN", V_ASN1_UTF8STRING,
                             reinterpret_cast<const unsigned char*>(common_name.data()),
                             static_cast<int>(common_name.size()), -1, 0);
  X509_REQ_set_pubkey(request.get(), key.get());
  if (X509_REQ_sign(request.get(), key.get(), EVP_sha256()) == 0)
    return internal("cannot sign a request: " + last_tls_error());
  const BioPtr bio(BIO_new(BIO_s_mem()));
  PEM_write_bio_X509_REQ(bio.get(), request.get());
  return KeyAndRequest{pem_of(key.get()), text_of(bio.get())};
}

// ---- tokens ---------------------------------------------------------------------------------------------------------

std::string random_hex(std::size_t bytes) {
  std::string raw(bytes, '\0');
  RAND_bytes(reinterpret_cast<unsigned char*>(raw.data()), static_cast<int>(bytes));
  return to_hex(reinterpret_cast<const unsigned char*>(raw.data()), bytes);
}

std::string hash_secret(std::string_view secret) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned size = 0;
  EVP_Digest(secret.data(), secret.size(), digest.data(), &size, EVP_sha256(), nullptr);
  return to_hex(digest.data(), size);
}

std::string format_token(const JoinToken& token) {
  return "berth1-" + token.fingerprint + "-" + token.id + "-" + token.secret;
}

Result<JoinToken> parse_token(std::string_view text) {
  const Error bad = state::invalid(
      "token", "the token is not one of the form berth1-FINGERPRINT-ID-SECRET, as 'berth token create' prints it");
  const auto is_hex = [](std::string_view part, std::size_t size) {
    return part.size() == size && part.find_first_not_of("0123456789abcdef") == std::string_view::npos;
  };
  std::array<std::string_view, 4> parts;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const std::size_t dash = text.find('-');
    if ((dash == std::string_view::npos) != (i + 1 == parts.size())) return bad;
    parts[i] = text.substr(0, dash);
    if (dash != std::string_view::npos) text.remove_prefix(dash + 1);
  }
  if (parts[0] != "berth1" || !is_hex(parts[1], 64) || !is_hex(parts[2], 12) || !is_hex(parts[3], 40)) return bad;
  return JoinToken{std::string(parts[1]), std::string(parts[2]), std::string(parts[3])};
}

JoinToken make_token(const Authority& authority) { return {authority.fingerprint, random_hex(6), random_hex(20)}; }

}  // namespace berth::wire
