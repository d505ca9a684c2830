// out[t, d] = sum over the chosen experts of (h W^T)[d] * score, on tensor cores; a warp an expert, 16 rows a block, and
// the block adds its experts up in the order of their slots.
using Rows = PackedTile<T, I, BITS, GROUP>;
__shared__ T products[TOP][16];
const int lane = threadIdx.x % 32;
const int expert = threadIdx.x / 32;
const int token = blockIdx.y;
const int slot = token * TOP + expert;
const int row = blockIdx.x * 16;
const size_t first = size_t(inds[slot]) * D + row;
float sums[4];
Rows::multiply(sums, h + slot * I, w, w, scales, scales, biases, biases, first, first + 8, lane);
if (lane % 4 == 0) {
  products[expert][lane / 4] = with_bias<BIASED, T>(sums[0], bias, first + lane / 4);
  products[expert][8 + lane / 4] = with_bias<BIASED, T>(sums[2], bias, first + 8 + lane / 4);
}
__syncthreads();
if (threadIdx.x < 16) {
  float total = 0.0f;
  for (int e = 0; e < TOP; ++e) {
    const float product = float(R(__fmul_rn(float(products[e][threadIdx.x]), float(scores[token * TOP + e]))));
    total = float(R(__fadd_rn(total, product)));
  }
  out[token * D + row + threadIdx.x] = T(total);
}
