// out[t, d] = sum over the chosen experts of (h W^T)[d] * score, by matrix-vector products; an expert has a warp of ROWS
// rows in a block, and the block adds its experts up in the order of their slots.
__shared__ float products[TOP][ROWS];
const int lane = threadIdx.x % 32;
const int expert = threadIdx.x / 32;
const int token = blockIdx.y;
const int slot = token * TOP + expert;
const int row = blockIdx.x * ROWS;
const size_t first = size_t(inds[slot]) * D + row;
float sums[1][ROWS];
multiply_rows<ChosenRow<T, I, BITS, GROUP, FLOATS>>(sums, h + slot * I, {w}, {scales}, {biases}, first, lane);
if (lane == 0) {
#pragma unroll
  for (int r = 0; r < ROWS; ++r) {
    products[expert][r] = float(with_bias<BIASED, T>(sums[0][r], bias, first + r));
  }
}
__syncthreads();
if (threadIdx.x < ROWS) {
  float total = 0.0f;
  for (int e = 0; e < TOP; ++e) {
    const float product = float(R(__fmul_rn(products[e][threadIdx.x], float(scores[token * TOP + e]))));
    total = float(R(__fadd_rn(total, product)));
  }
  out[token * D + row + threadIdx.x] = T(total);
}
