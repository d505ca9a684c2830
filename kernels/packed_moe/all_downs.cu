// out[d] = the weighted sum of the chosen experts rounded to T, plus the shared expert; each has a warp of ROWS rows in
// a block, and the block adds them up in the order of their slots.
__shared__ float products[TOP + 1][ROWS];
const int lane = threadIdx.x % 32;
const int slot = threadIdx.x / 32;
const int row = blockIdx.x * ROWS;
const bool shared = slot == TOP;
const size_t first = (shared ? 0 : size_t(inds[slot]) * D) + row;
PackedRow<T, I, BITS, GROUP, FLOATS> weights[ROWS];
#pragma unroll
for (int r = 0; r < ROWS; ++r) {
  weights[r].request(
      shared ? shared_down_w : down_w, shared ? shared_down_s : down_s, shared ? shared_down_b : down_b, first + r, lane);
}
#pragma unroll
for (int r = 0; r < ROWS; ++r) {
  const float y = weights[r].multiply(h + slot * I, lane);
  if (lane == 0) {
    products[slot][r] = float(T(y));
  }
}
__syncthreads();
if (threadIdx.x < ROWS) {
  float total = 0.0f;
  for (int e = 0; e < TOP; ++e) {
    const float product = float(R(__fmul_rn(products[e][threadIdx.x], float(scores[e]))));
    total = float(R(__fadd_rn(total, product)));
  }
  out[row + threadIdx.x] = T(__fadd_rn(float(T(total)), products[TOP][threadIdx.x]));
}
