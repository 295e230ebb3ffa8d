// Threads, and hosts that give too few of them (a limit of processes, of memory).
#pragma once

#include <cstddef>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace cloister::toolstack {

/// One that does `work`. Throws std::system_error if the host gives none.
template <class Work>
std::thread start_thread(Work work) {
  try {
    return std::thread(std::move(work));
  } catch (const std::system_error& error) {
    throw std::system_error(error.code(), "no thread can be started");
  }
}

/// Adds threads that each do a copy of `work` until there are `most`. Where the host gives fewer, those that there are
/// do it all, and what is returned says why; empty: there are `most`. Without a single one it throws as start_thread
/// does, since nobody would do the work. Who owns the threads joins them.
template <class Work>
[[nodiscard]] std::string add_threads(std::vector<std::thread>& threads, std::size_t most, const Work& work) {
  try {
    while (threads.size() < most) threads.push_back(start_thread(work));
  } catch (const std::system_error& error) {
    if (threads.empty()) throw;
    return std::to_string(threads.size()) + " threads instead of " + std::to_string(most) + ": " + error.what();
  }
  return {};
}

}  // namespace cloister::toolstack
