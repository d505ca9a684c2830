// The router and a slot's rows of gate and up on tensor cores. Every block routes for itself by its first warp, which
// runs softmax_keys.gpu and experts_pick.cu, while the others lay x out; softmax_scores.gpu waits until the weights are
// requested.
using Rows = MmaRows<T, D>;
DYNAMIC_SHARED(staged);
__shared__ uint picked[TOP];
const int warp = threadIdx.x / 32;
const int slot = blockIdx.y;
unsigned* spread = reinterpret_cast<unsigned*>(staged + WARPS * Rows::BYTES);
inputs_ready();
if (warp > 0) {
  Rows::spread(spread, x, threadIdx.x - 32, (WARPS - 1) * 32);
} else {
