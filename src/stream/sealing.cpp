// A frame: its length, of which the highest bit says that it is the last, which is empty; as many bytes; their tag. Its
// nonce is its number. What is authenticated beside it are the header and the length.
#include "stream/sealing.hpp"

#include <fmt/format.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "arch/try.hpp"
#include "stream/codec.hpp"

namespace cloister::stream {

namespace {

constexpr u32 last_bit = u32{1} << 31;
constexpr std::size_t length_bytes = 4, nonce_bytes = 12;

struct SealHeader {
  std::array<u8, 8> magic{};
  u16 version = 0, zero = 0;
  u32 reserved = 0;
  SealId id{};
};

struct FreeCipher {
  void operator()(EVP_CIPHER_CTX* context) const { EVP_CIPHER_CTX_free(context); }
};
using Cipher = std::unique_ptr<EVP_CIPHER_CTX, FreeCipher>;

/// OpenSSL refuses only for want of memory, and nothing must go out that is not sealed.
void must(bool done) {
  if (!done) std::abort();
}

Cipher cipher_of(const SealKey& key, u64 number, std::span<const u8> header, std::span<const u8> length, bool seals) {
  std::array<u8, nonce_bytes> nonce{};
  std::memcpy(nonce.data(), &number, sizeof number);
  Cipher context(EVP_CIPHER_CTX_new());
  int bytes = 0;
  must(context != nullptr &&
       EVP_CipherInit_ex(context.get(), EVP_aes_256_gcm(), nullptr, key.data(), nonce.data(), seals ? 1 : 0) == 1 &&
       EVP_CipherUpdate(context.get(), nullptr, &bytes, header.data(), static_cast<int>(header.size())) == 1 &&
       EVP_CipherUpdate(context.get(), nullptr, &bytes, length.data(), static_cast<int>(length.size())) == 1);
  return context;
}

void run(EVP_CIPHER_CTX* context, std::span<u8> bytes) {
  int done = 0;
  must(EVP_CipherUpdate(context, bytes.data(), &done, bytes.data(), static_cast<int>(bytes.size())) == 1);
}

/// What a sealed stream's source remembers; sources may be copied.
class Unsealer {
 public:
  Unsealer(Source from, const SealKey& key) : from_(std::move(from)), key_(key) {}
  ~Unsealer() { OPENSSL_cleanse(key_.data(), key_.size()); }
  Unsealer(const Unsealer&) = delete;
  Unsealer& operator=(const Unsealer&) = delete;

  Result<std::size_t> read(std::span<u8> to) {
    if (at_ == frame_.size() && !last_) TRY(next_frame());
    const std::size_t bytes = std::min(to.size(), frame_.size() - at_);
    std::copy_n(frame_.begin() + static_cast<std::ptrdiff_t>(at_), bytes, to.begin());
    at_ += bytes;
    return bytes;
  }

 private:
  Result<void> fill(std::span<u8> bytes) {
    while (!bytes.empty()) {
      const std::size_t found = TRY(from_(bytes));
      if (found == 0)
        return tl::unexpected(fmt::format("frame {}: the sealed stream ends before its last frame", frames_));
      bytes = bytes.subspan(std::min(found, bytes.size()));
    }
    return {};
  }

  Result<void> next_frame() {
    if (frames_ == 0) {
      TRY(fill(header_));
      TRY(seal_id(header_));
    }
    std::array<u8, length_bytes> length;
    TRY(fill(length));
    const u32 word = decode<u32>(length).value_or(0), bytes = word & ~last_bit;
    last_ = (word & last_bit) != 0;
    if (bytes > frame_bytes || (bytes == 0) != last_)
      return tl::unexpected(fmt::format("frame {}: found {}one of {} bytes, expected 1 to {}, or 0 in the last",
                                        frames_, last_ ? "a last " : "", bytes, frame_bytes));
    frame_.resize(bytes + tag_bytes);
    TRY(fill(frame_));
    const Cipher context = cipher_of(key_, frames_, header_, length, false);
    must(EVP_CIPHER_CTX_ctrl(context.get(), EVP_CTRL_AEAD_SET_TAG, tag_bytes, frame_.data() + bytes) == 1);
    frame_.resize(bytes);
    run(context.get(), frame_);
    std::array<u8, tag_bytes> rest;
    int left = 0;
    at_ = 0;
    if (EVP_CipherFinal_ex(context.get(), rest.data(), &left) != 1) {
      frame_.clear();
      last_ = true;
      return tl::unexpected(
          fmt::format("frame {}: it was altered, or sealed with another key than the one that is here", frames_));
    }
    ++frames_;
    return {};
  }

  Source from_;
  SealKey key_;
  std::array<u8, seal_header_bytes> header_{};
  std::vector<u8> frame_;
  std::size_t at_ = 0;
  u64 frames_ = 0;
  bool last_ = false;
};

}  // namespace

Sealer::Sealer(Sink sink, const SealKey& key, const SealId& id) : sink_(std::move(sink)), key_(key) {
  const auto header = encode(SealHeader{.magic = seal_magic, .version = seal_version, .id = id});
  std::ranges::copy(header, header_.begin());
  pending_.reserve(frame_bytes);
}

Sealer::~Sealer() {
  OPENSSL_cleanse(key_.data(), key_.size());
  OPENSSL_cleanse(pending_.data(), pending_.size());
}

Result<void> Sealer::put_frame(bool last) {
  if (frames_ == 0) TRY(sink_(header_));
  const auto length = encode(static_cast<u32>(pending_.size()) | (last ? last_bit : 0));
  const Cipher context = cipher_of(key_, frames_++, header_, length, true);
  run(context.get(), pending_);
  std::array<u8, tag_bytes> tag;
  int left = 0;
  must(EVP_CipherFinal_ex(context.get(), tag.data(), &left) == 1 &&
       EVP_CIPHER_CTX_ctrl(context.get(), EVP_CTRL_AEAD_GET_TAG, tag_bytes, tag.data()) == 1);
  TRY(sink_(length));
  TRY(sink_(pending_));
  pending_.clear();
  return sink_(tag);
}

Sink Sealer::sink() {
  return [this](std::span<const u8> bytes) -> Result<void> {
    while (!bytes.empty()) {
      if (pending_.size() == frame_bytes) TRY(put_frame(false));
      const auto part = bytes.first(std::min(bytes.size(), frame_bytes - pending_.size()));
      pending_.insert(pending_.end(), part.begin(), part.end());
      bytes = bytes.subspan(part.size());
    }
    return {};
  };
}

Result<void> Sealer::flush() { return pending_.empty() ? Result<void>() : put_frame(false); }

Result<void> Sealer::finish() {
  if (!pending_.empty()) TRY(put_frame(false));
  return put_frame(true);
}

bool seal_ends_with(std::span<const u8, seal_end_bytes> end) {
  return decode<u32>(end.first(length_bytes)) == last_bit;
}

Result<SealId> seal_id(std::span<const u8> beginning) {
  const auto header =
      beginning.size() < seal_header_bytes ? std::nullopt : decode<SealHeader>(beginning.first(seal_header_bytes));
  if (!header || header->magic != seal_magic)
    return tl::unexpected(std::string("found no sealed domain's header, expected one that `cloister save` wrote"));
  if (header->version != seal_version || header->zero != 0 || header->reserved != 0)
    return tl::unexpected(
        fmt::format("found version {} of sealed domains, expected {}", header->version, seal_version));
  return header->id;
}

Source unsealed(Source from, const SealKey& key) {
  return [state = std::make_shared<Unsealer>(std::move(from), key)](std::span<u8> to) { return state->read(to); };
}

}  // namespace cloister::stream
