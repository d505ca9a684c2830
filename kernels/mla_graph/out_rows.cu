// out = N rows of weights times x, a warp a row, as MLX's matrix-vector kernel; the weights are requested before x is
// there, which a block reads once.
using Rows = SlotRows<T, K, 0>;
__shared__ __align__(16) T own_x[K];
const int lane = threadIdx.x % 32;
const size_t row = size_t(blockIdx.x) * WARPS + threadIdx.x / 32;
const typename Rows::Row weights = Rows::request(w, s, z, row, lane);
inputs_ready();
for (int i = threadIdx.x; i < K / 8; i += WARPS * 32) {
  reinterpret_cast<uint4*>(own_x)[i] = reinterpret_cast<const uint4*>(x)[i];
}
__syncthreads();
Rows rows;
rows.load(own_x, lane);
const float sum = rows.multiply(weights, lane);
if (lane == 0) {
  out[row] = T(sum);
}
