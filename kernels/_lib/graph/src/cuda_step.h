#pragma once

#include <memory>
#include <vector>

#include "cuda_graph.h"
#include "mlx/mlx.h"

namespace zmlx {

// Submits one step at once, after everything that was submitted before on the current stream, and returns
// its output, of the spares' shape and dtype. The buffers are written in place.
mlx::core::array step(
    const mlx::core::array& in, const std::shared_ptr<Work>& work, const std::shared_ptr<Buffers>& buffers,
    const std::vector<int>& numbers);

} // namespace zmlx
