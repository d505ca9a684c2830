#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include <cuda.h>

namespace zmlx {

// A thread that makes what a step will launch an executable graph, before the step is asked for.
class Ahead {
 public:
  // Returns the executable graph of a step with these values, brought to the GPU by the stream.
  using Make = std::function<CUgraphExec(const std::vector<uint64_t>&, CUstream)>;

  explicit Ahead(Make make);
  ~Ahead();
  Ahead(const Ahead&) = delete;
  Ahead& operator=(const Ahead&) = delete;

  // Begins to make a graph; one that was made and not taken is given up. A failure shows as nothing made.
  void begin(std::vector<uint64_t> values);

  // What was made for exactly these values, or null. Waits where it is being made.
  CUgraphExec take(const std::vector<uint64_t>& values);

  // What the last failure said; empty without one.
  std::string fault();

 private:
  enum class State { nothing, asked, made, over };

  void run(CUcontext context);

  const Make make_;
  CUgraphExec latest_ = nullptr;
  State state_ = State::nothing;
  std::vector<uint64_t> values_;
  std::string fault_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::thread thread_;
};

} // namespace zmlx
