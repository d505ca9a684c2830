#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include <cuda.h>

#include "cuda_calls.h"

namespace zmlx {

// A captured graph made executable, and what its launches were set to last.
struct Executable {
  OwnGraph graph; // its nodes are named where a launch is set anew
  CUgraphExec handle = nullptr;
  Kind kind;
  std::vector<uint64_t> values;
  std::vector<std::vector<CUgraphNode>> nodes; // of each link
  uint64_t used = 0;

  Executable() = default;
  ~Executable();
  Executable(const Executable&) = delete;
  Executable& operator=(const Executable&) = delete;
};

// Executable graphs by their kind. Only launches of the same kind are set anew in one: CUDA does not update a node
// correctly with a kernel of another cluster (MLX's device.cpp says so too).
class Executables {
 public:
  // One of this kind that the two steps before do not use, the one used longest ago; null where there is none.
  Executable* find(const Kind& kind);

  // An empty one, in the place of the one used longest ago.
  Executable& make();

  void clear();

  // Notes that a step uses it now.
  void use(Executable& executable) {
    executable.used = ++uses_;
  }

 private:
  // cuBLASLt's kernels follow what the length leaves divided by eight, so there are few kinds at a time.
  static constexpr size_t SETS = 8;
  std::array<std::unique_ptr<Executable>, SETS> sets_;
  uint64_t uses_ = 0;
};

} // namespace zmlx
