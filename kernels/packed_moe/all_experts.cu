// h[slot, i] = swiglu(gate, up): slots 0..TOP-1 are the chosen experts, slot TOP the shared one. A warp takes ROWS gate
// rows and their up rows, all of them requested before the first is used.
const int lane = threadIdx.x % 32;
const int slot = blockIdx.y;
const int row = (blockIdx.x * WARPS + threadIdx.x / 32) * ROWS;
const bool shared = slot == TOP;
const size_t first = (shared ? 0 : size_t(inds[slot]) * I) + row;
PackedRow<T, D, BITS, GROUP, FLOATS> gate[ROWS], up[ROWS];
#pragma unroll
for (int r = 0; r < ROWS; ++r) {
  gate[r].request(
      shared ? shared_gate_w : gate_w, shared ? shared_gate_s : gate_s, shared ? shared_gate_b : gate_b, first + r, lane);
  up[r].request(
      shared ? shared_up_w : up_w, shared ? shared_up_s : up_s, shared ? shared_up_b : up_b, first + r, lane);
}
#pragma unroll
for (int r = 0; r < ROWS; ++r) {
  const float g = gate[r].multiply(x, lane);
  const float u = up[r].multiply(x, lane);
  if (lane == 0) {
    h[slot * I + row + r] = swiglu(T(g), T(u));
  }
}
