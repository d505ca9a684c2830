// out[d] = the weighted sum of the chosen experts rounded to T, plus the shared expert; each has a warp of ROWS rows in
// a block, and the block adds them up in the order of their slots.
__shared__ float products[TOP + 1][ROWS];
const int lane = threadIdx.x % 32;
const int slot = threadIdx.x / 32;
const int row = blockIdx.x * ROWS;
const bool shared = slot == TOP;
const size_t first = (shared ? 0 : size_t(inds[slot]) * D) + row;
const auto w = shared ? shared_down_w : down_w;
const auto scales = shared ? shared_down_s : down_s, biases = shared ? shared_down_b : down_b;
float sums[1][ROWS];
if (FLOATS && shared) {
  multiply_rows<DenseRow<T, I, BITS, GROUP, FLOATS>>(sums, h + slot * I, {w}, {scales}, {biases}, first, lane);
} else {
  multiply_rows<ChosenRow<T, I, BITS, GROUP, FLOATS>>(sums, h + slot * I, {w}, {scales}, {biases}, first, lane);
}
if (lane == 0) {
#pragma unroll
  for (int r = 0; r < ROWS; ++r) {
    products[slot][r] = float(T(sums[0][r]));
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
