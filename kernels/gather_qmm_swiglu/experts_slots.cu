// h[slot, i] = swiglu(gate, up) of the slot's expert by matrix-vector products; a warp takes ROWS gate rows and their
// up rows, all of them requested before the first is used.
using Rows = SlotRows<T, D, ACCURACY>;
const int lane = threadIdx.x % 32;
const int warp = threadIdx.x / 32;
const int slot = blockIdx.y;
const int row = (blockIdx.x * WARPS + warp) * ROWS;
const size_t first = size_t(CHOSEN) * I + row;
typename Rows::Row gate[ROWS], up[ROWS];
#pragma unroll
for (int r = 0; r < ROWS; ++r) {
  gate[r] = Rows::request(gate_w, gate_s, gate_b, first + r, lane);
  up[r] = Rows::request(up_w, up_s, up_b, first + r, lane);
}
Rows rows;
rows.load(x + (slot / TOP) * D, lane);
#pragma unroll
for (int r = 0; r < ROWS; ++r) {
  const float g = rows.multiply(gate[r], lane);
  const float u = rows.multiply(up[r], lane);
  if (lane == 0) {
    h[slot * I + row + r] = ACCURACY == 0 ? swiglu(T(g), T(u)) : T(g / (1.0f + expf(-g)) * u);
  }
}
