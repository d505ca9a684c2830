#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include <cuda.h>

#include "mlx/mlx.h"

namespace mlx::core::cu {
struct CudaBuffer;
}

namespace zmlx {

void check(CUresult result, const char* what);

// Makes the GPU current on a thread that may have no context: the last step lets go of what it launched on one of MLX's.
// False where the driver has ended.
bool enter() noexcept;

// Orders the streams that use a thing one after the other.
class Turn {
 public:
  ~Turn();
  // What `stream` is given from here on begins after the work that was marked last.
  void take(CUstream stream);
  void mark(CUstream stream);

 private:
  CUevent event_ = nullptr;
  CUstream last_ = nullptr;
};

// Buffers that a graph's launches write in place, and who wrote them last.
struct Buffers {
  explicit Buffers(std::vector<mlx::core::array> given) : arrays(std::move(given)) {}
  std::vector<mlx::core::array> arrays;
  Turn turn;
};

// What a parameter of a launch is: an array that stays, the step's input or output, one of its buffers, or one of its
// numbers (int32).
struct Input {};
struct Output {};
struct Buffer {
  int index;
};
struct Number {
  int index;
};
using Parameter = std::variant<mlx::core::array, Input, Output, Buffer, Number>;

struct Launch {
  std::string kernel;
  std::vector<int> blocks; // three
  int threads;
  int shared_bytes;
  // Whether it may start before the one before it has ended; its text then waits where it needs to.
  bool ahead;
  std::vector<Parameter> parameters;
};

// What a step launches.
class Work {
 public:
  // `spares`: evaluated arrays of the output's shape and dtype, one at least.
  explicit Work(std::vector<mlx::core::array> spares);
  virtual ~Work() = default;
  Work(const Work&) = delete;
  Work& operator=(const Work&) = delete;

  // Launches a step on the stream.
  void launch(
      const mlx::core::array& in, const mlx::core::array& out, Buffers& buffers, const std::vector<int>& numbers,
      CUstream stream);

  // Gives an output a buffer of its size that nobody uses; false where there is none.
  bool lend(mlx::core::array& out);

  // An array of an output's shape and dtype.
  const mlx::core::array& like() const {
    return spares_.front();
  }

  // How many buffers and numbers its launches name.
  int buffers() const {
    return buffers_;
  }
  int numbers() const {
    return numbers_;
  }

 protected:
  // A step's values: the addresses of its input and output, of all arrays that stay and of its buffers, and its numbers.
  using Values = std::vector<uint64_t>;
  enum : size_t { INPUT, OUTPUT, ARRAYS };

  // Makes a parameter known; places and values are asked for when all are.
  void keep(const Parameter& parameter);
  // Where a parameter's value stands among the step's.
  size_t place(const Parameter& parameter) const;
  std::vector<size_t> places(const std::vector<Parameter>& parameters) const;
  // The values of a step whose input and output are not known yet. `anew`: read where the arrays that stay are, which
  // else are where they were when it was read last.
  Values values(const Buffers& buffers, const std::vector<int>& numbers, bool anew);

  // Launches with these values; one thread at a time.
  virtual void enqueue(const Values& values, CUstream stream) = 0;

  std::mutex mutex_;

 private:
  Turn turn_;
  std::vector<mlx::core::array> spares_;
  std::vector<mlx::core::array> arrays_;
  std::map<std::uintptr_t, size_t> known_; // where an array stands among them
  // Where each lies: MLX may move what the host touched, but never changes an array's buffer. Read at every step, so
  // without the way there.
  std::vector<std::pair<const mlx::core::cu::CudaBuffer*, int64_t>> lies_;
  Values addresses_; // as they were read last
  int buffers_ = 0;
  int numbers_ = 0;
};

// Writes a launch's sizes into one of the driver's structures.
template <typename Settings>
void set_sizes(Settings& settings, const Launch& launch) {
  settings.gridDimX = launch.blocks[0];
  settings.gridDimY = launch.blocks[1];
  settings.gridDimZ = launch.blocks[2];
  settings.blockDimX = launch.threads;
  settings.blockDimY = 1;
  settings.blockDimZ = 1;
  settings.sharedMemBytes = launch.shared_bytes;
}

// A module's kernel that may have `shared_bytes` of dynamic shared memory.
CUfunction kernel_of(CUmodule module, const std::string& name, int shared_bytes);

// Launches after each other as one executable CUDA graph. A parameter whose value changed since the last step is set
// anew in the executable graph, which does not touch steps that are under way.
class Graph : public Work {
 public:
  Graph(const std::string& machine_code, const std::vector<Launch>& launches, std::vector<mlx::core::array> spares);
  ~Graph() override;

 private:
  struct Node {
    CUgraphNode handle = nullptr;
    CUDA_KERNEL_NODE_PARAMS settings{};
    std::vector<size_t> places;
    std::vector<uint64_t> values; // what they were set to last
    std::vector<void*> pointers; // to these
  };

  void enqueue(const Values& values, CUstream stream) override;
  void add(const Launch& launch);

  CUmodule module_ = nullptr;
  CUgraph graph_ = nullptr;
  CUgraphExec executable_ = nullptr;
  std::deque<Node> nodes_; // its elements never move: nodes hold pointers into them
};

} // namespace zmlx
