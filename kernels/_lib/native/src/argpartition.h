// The order in which mlx's CPU `argpartition` leaves a row; plain pointers, no mlx.
#pragma once

#include <cstdint>
#include <vector>

namespace zmlx {

// std::nth_element by (value, index), NaNs last. The order inside the halves is whatever the standard library makes of
// it, so the same algorithm runs on the same comparisons.
void argpartition(const float* values, int n, int kth, std::vector<uint32_t>& order);

}  // namespace zmlx
