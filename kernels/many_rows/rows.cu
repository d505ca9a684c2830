// out = x times ROWS rows of weights a warp, as MLX's matrix-vector kernel multiplies one row; FEW of them are under way
// while the FEW before are multiplied.
using Rows = SlotRows<T, K, 0>;
static_assert(ROWS % FEW == 0, "rows are taken by the few");
const int lane = threadIdx.x % 32;
const size_t first = (size_t(blockIdx.x) * WARPS + threadIdx.x / 32) * ROWS;
typename Rows::Row next[FEW];
#pragma unroll
for (int i = 0; i < FEW; ++i) {
  next[i] = Rows::request(w, s, z, first + i, lane);
}
Rows rows;
rows.load(x, lane);
#pragma unroll 1
for (int row = 0; row < ROWS; row += FEW) {
  typename Rows::Row now[FEW];
#pragma unroll
  for (int i = 0; i < FEW; ++i) {
    now[i] = next[i];
  }
  if (row + FEW < ROWS) {
#pragma unroll
    for (int i = 0; i < FEW; ++i) {
      next[i] = Rows::request(w, s, z, first + row + FEW + i, lane);
    }
  }
#pragma unroll
  for (int i = 0; i < FEW; ++i) {
    const float sum = rows.multiply(now[i], lane);
    if (lane == 0) {
      out[first + row + i] = T(sum);
    }
  }
}
