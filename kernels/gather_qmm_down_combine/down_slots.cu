// out[t, d] = sum over the chosen experts of (h W^T)[d] * score, by matrix-vector products; an expert has WARPS warps
// of ROWS rows each in a block, and the block adds its experts up in the order of their slots.
using Rows = SlotRows<T, I, ACCURACY>;
__shared__ float products[TOP][WARPS * ROWS];
const int lane = threadIdx.x % 32;
const int warp = threadIdx.x / 32;
const int expert = warp / WARPS;
const int token = blockIdx.y;
const int slot = token * TOP + expert;
const int own = (warp % WARPS) * ROWS;
const int row = blockIdx.x * WARPS * ROWS;
const size_t first = size_t(inds[slot]) * D + row + own;
typename Rows::Row weights[ROWS];
#pragma unroll
for (int r = 0; r < ROWS; ++r) {
  weights[r] = Rows::request(w, scales, biases, first + r, lane);
}
Rows rows;
rows.load(h + slot * I, lane);
#pragma unroll
for (int r = 0; r < ROWS; ++r) {
  const float y = rows.multiply(weights[r], lane);
  if (lane == 0) {
    products[expert][own + r] = ACCURACY == 0 ? float(T(y)) : y;
  }
}
__syncthreads();
if (threadIdx.x < WARPS * ROWS) {
  float total = 0.0f;
  for (int e = 0; e < TOP; ++e) {
    const float score = float(scores[token * TOP + e]);
    if (ACCURACY == 1) {
      total = fmaf(products[e][threadIdx.x], score, total);
    } else {
      const float product = float(R(__fmul_rn(products[e][threadIdx.x], score)));
      total = float(R(__fadd_rn(total, product)));
    }
  }
  out[token * D + row + threadIdx.x] = T(total);
}
