#pragma once

#include <array>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include <cuda.h>

#include "cuda_products.h"

namespace zmlx {

// A thread that captures what a step will launch as an executable graph, before the step is asked for.
class Ahead {
 public:
  // Enqueues launches with these values on a stream that is being captured; returns what kind of graph they make.
  using Enqueue = std::function<Kind(const std::vector<uint64_t>&, CUstream)>;

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

  // Only a graph of the same kind updates an executable one: CUDA does not update a node correctly with a kernel of
  // another cluster (MLX's device.cpp says so too).
  struct Executable {
    CUgraphExec handle = nullptr;
    Kind kind;
    uint64_t used = 0;
  };

  // cuBLASLt's kernels follow what the length leaves divided by eight, so there are few kinds at a time.
  static constexpr size_t SETS = 8;
  std::array<Executable, SETS> executables_;
  Executable* latest_ = nullptr;
  uint64_t captures_ = 0;
  State state_ = State::nothing;
  std::vector<uint64_t> values_;
  Enqueue enqueue_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::thread thread_;
};

} // namespace zmlx
