#pragma once

#include <array>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include <cuda.h>

#include "cuda_products.h"

namespace zmlx {

// A thread that captures what steps will launch as executable graphs, before the steps are asked for.
class Ahead {
 public:
  // Enqueues launches with these values on a stream that is being captured; returns what kind of graph they make.
  using Enqueue = std::function<Kind(const std::vector<uint64_t>&, CUstream)>;

  Ahead();
  ~Ahead();
  Ahead(const Ahead&) = delete;
  Ahead& operator=(const Ahead&) = delete;

  // Has one more step captured, after those before it; of more than DEPTH the first is given up.
  void begin(std::vector<uint64_t> values, Enqueue enqueue);

  // What was captured for exactly these values, or null; nothing changes it until the next is taken. Waits for a
  // capture of them that is under way, and gives up those that were to be taken before.
  CUgraphExec take(const std::vector<uint64_t>& values);

 private:
  static constexpr size_t DEPTH = 2;
  // cuBLASLt's kernels follow what the length leaves divided by eight, so there are few kinds at a time.
  static constexpr size_t SETS = 8;

  // Only a graph of the same kind updates an executable one: CUDA does not update a node correctly with a kernel of
  // another cluster (MLX's device.cpp says so too).
  struct Executable {
    CUgraphExec handle = nullptr;
    Kind kind;
    uint64_t used = 0;
  };

  enum class State { asked, begun, captured, failed };

  struct Job {
    std::vector<uint64_t> values;
    Enqueue enqueue;
    State state = State::asked;
    Executable* made = nullptr;
  };
  using Jobs = std::deque<std::shared_ptr<Job>>;

  void run(CUcontext context);
  Executable* capture(const Job& job, CUstream stream);
  Executable& place_for(const Kind& kind);
  // Whether a step is to be launched from it still.
  bool is_waited_for(const Executable& executable) const;

  std::array<Executable, SETS> executables_;
  uint64_t captures_ = 0;
  Jobs jobs_; // in the order of their steps
  Executable* taken_ = nullptr;
  bool over_ = false;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::thread thread_;
};

} // namespace zmlx
