// A disk that another process serves by NBD (docs/configuration.md, `format`): it knows the format, and here its bytes
// are known alone. What it does not answer within a minute, or at all, is an error of the disk's, and so is all that
// follows.
#pragma once

#include <memory>
#include <string>
#include <tl/expected.hpp>

#include "host/fd.hpp"
#include "platform/virtio/storage.hpp"

struct nbd_handle;

namespace cloister::hypervisor {

class NbdDisk final : public platform::virtio::Storage {
 public:
  /// `connection` is to the server; `server` is kept open as long as the disk is there.
  static tl::expected<std::shared_ptr<NbdDisk>, std::string> create(Fd connection, Fd server, bool read_only);
  ~NbdDisk() override;

  u64 bytes() const override { return bytes_; }
  u32 block_bytes() const override { return block_bytes_; }
  bool read(u64 offset, std::span<std::byte> to) override;
  bool write(u64 offset, std::span<const std::byte> from) override;
  bool flush() override;
  bool discard(u64 offset, u64 length) override;
  bool write_zeroes(u64 offset, u64 length, bool unmap) override;

 private:
  struct Close {
    void operator()(nbd_handle* handle) const;
  };
  using Handle = std::unique_ptr<nbd_handle, Close>;
  struct Sizes {
    u64 all = 0;
    u32 block = 0;
    u64 most = 0;  ///< of a request that moves bytes
  };
  NbdDisk(Handle handle, Fd server, const Sizes& sizes);
  static tl::expected<Sizes, std::string> sizes_of(nbd_handle* handle);
  /// Waits for a request that has been sent, by its number; below zero: it was not.
  bool done(i64 cookie);
  /// Whether the server has said that it does this.
  bool offers(int (*what)(nbd_handle*)) const;
  bool is_there() const;

  Handle handle_;
  const Fd server_;
  const u64 bytes_;
  const u32 block_bytes_;
  const u64 most_moved_;
};

}  // namespace cloister::hypervisor
