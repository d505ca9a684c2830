#pragma once

#include <array>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include <cuda.h>

namespace zmlx {

// A thread that captures what a step will launch as an executable graph, before the step is asked for.
class Ahead {
 public:
  // Enqueues launches with these values on a stream that is being captured.
  using Enqueue = std::function<void(const std::vector<uint64_t>&, CUstream)>;

  Ahead();
  ~Ahead();
  Ahead(const Ahead&) = delete;
  Ahead& operator=(const Ahead&) = delete;

  // Begins to capture; what was captured and not taken is given up. A failure shows as nothing captured.
  void begin(std::vector<uint64_t> values, Enqueue enqueue);

  // What was captured for exactly these values, or null. Waits for a capture of them that is under way.
  CUgraphExec take(const std::vector<uint64_t>& values);

 private:
  enum class State { nothing, asked, captured, over };

  void run(CUcontext context);
  void capture(CUstream stream);

  // cuBLASLt's choice follows the length's alignment: graphs whose length leaves the same remainder are alike, and an
  // executable graph is updated where the launches are alike, which costs a fraction of making one.
  static constexpr size_t SETS = 8;
  std::array<CUgraphExec, SETS> executables_{};
  size_t turn_ = 0;
  State state_ = State::nothing;
  std::vector<uint64_t> values_;
  Enqueue enqueue_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::thread thread_;
};

} // namespace zmlx
