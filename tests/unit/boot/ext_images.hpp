// Disks with ext4 on them, made by mke2fs of a folder's files.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "arch/types.hpp"

namespace cloister::boot::tests {

inline bool has_mke2fs() { return std::filesystem::exists("/sbin/mke2fs"); }

/// A file system that is put together, and then made.
class ExtImage {
 public:
  ExtImage() {
    std::string pattern = (std::filesystem::temp_directory_path() / "cloister-ext-XXXXXX").string();
    if (::mkdtemp(pattern.data()) != nullptr) folder_ = pattern;
    std::filesystem::create_directories(folder_ / "root/boot");
  }
  ~ExtImage() {
    std::error_code gone_meanwhile;
    std::filesystem::remove_all(folder_, gone_meanwhile);
  }
  ExtImage(const ExtImage&) = delete;
  ExtImage& operator=(const ExtImage&) = delete;

  ExtImage& file(const std::string& path, const std::string& text) {
    std::filesystem::create_directories((folder_ / ("root" + path)).parent_path());
    std::ofstream(folder_ / ("root" + path), std::ios::binary) << text;
    return *this;
  }
  ExtImage& link(const std::string& path, const std::string& to) {
    std::filesystem::create_directories((folder_ / ("root" + path)).parent_path());
    std::filesystem::create_symlink(to, folder_ / ("root" + path));
    return *this;
  }

  static constexpr const char uuid[] = "01234567-89ab-4cde-8f01-23456789abcd";
  std::vector<u8> make(const std::string& options = "-t ext4", const std::string& size = "8M") const {
    const std::string image = (folder_ / "image").string();
    std::filesystem::remove(image);
    const std::string command = "/sbin/mke2fs -q -F -U " + std::string(uuid) + " " + options + " -d '" +
                                (folder_ / "root").string() + "' '" + image + "' " + size;
    EXPECT_EQ(::system(command.c_str()), 0) << command;
    std::ifstream file(image, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  std::filesystem::path path(const std::string& name) const { return folder_ / name; }

 private:
  std::filesystem::path folder_;
};

}  // namespace cloister::boot::tests
