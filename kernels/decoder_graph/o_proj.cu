// out = the attention's output projection, a warp a row: its weights are requested before x is there. While memory has
// nothing else to do, the next layer's projections are brought nearer: NEXT_ROWS rows of D weights with their scales.
using Rows = SlotRows<T, K, 0>;
constexpr int SHARE = NEXT_ROWS / (D / WARPS);  // rows that a block prefetches
const int lane = threadIdx.x % 32;
const size_t row = size_t(blockIdx.x) * WARPS + threadIdx.x / 32;
const typename Rows::Row weights = Rows::request(w, s, z, row, lane);
prefetch_block(next_w + size_t(blockIdx.x) * SHARE * (D / 8), SHARE * D / 2);
prefetch_block(next_s + size_t(blockIdx.x) * SHARE * (D / GROUP), SHARE * D / GROUP * 2);
prefetch_block(next_z + size_t(blockIdx.x) * SHARE * (D / GROUP), SHARE * D / GROUP * 2);
inputs_ready();
Rows rows;
rows.load(x, lane);
const float sum = rows.multiply(weights, lane);
if (lane == 0) {
  out[row] = T(sum);
}
