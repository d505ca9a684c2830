// h[slot, i] = swiglu(gate, up): slots 0..TOP-1 are the chosen experts, slot TOP the shared one. A warp takes ROWS gate
// rows and their up rows.
const int lane = threadIdx.x % 32;
const int slot = blockIdx.y;
const int row = (blockIdx.x * WARPS + threadIdx.x / 32) * ROWS;
const bool shared = slot == TOP;
const size_t first = (shared ? 0 : size_t(inds[slot]) * I) + row;
const auto w1 = shared ? shared_gate_w : gate_w, w2 = shared ? shared_up_w : up_w;
const auto s1 = shared ? shared_gate_s : gate_s, s2 = shared ? shared_up_s : up_s;
const auto z1 = shared ? shared_gate_b : gate_b, z2 = shared ? shared_up_b : up_b;
float sums[2][ROWS];
if (FLOATS && shared) {
  multiply_rows<DenseRow<T, D, BITS, GROUP, FLOATS>>(sums, x, {w1, w2}, {s1, s2}, {z1, z2}, first, lane);
} else {
  multiply_rows<ChosenRow<T, D, BITS, GROUP, FLOATS>>(sums, x, {w1, w2}, {s1, s2}, {z1, z2}, first, lane);
}
if (lane == 0) {
#pragma unroll
  for (int r = 0; r < ROWS; ++r) {
    h[slot * I + row + r] = swiglu(T(sums[0][r]), T(sums[1][r]));
  }
}
