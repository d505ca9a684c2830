// out = the attention's output projection, a warp a row: its weights are requested before x is there.
using Rows = SlotRows<T, K, 0>;
const int lane = threadIdx.x % 32;
const size_t row = size_t(blockIdx.x) * WARPS + threadIdx.x / 32;
const typename Rows::Row weights = Rows::request(w, s, z, row, lane);
inputs_ready();
Rows rows;
rows.load(x, lane);
const float sum = rows.multiply(weights, lane);
if (lane == 0) {
  out[row] = T(sum);
}
