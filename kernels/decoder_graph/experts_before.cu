// The router and a slot's rows of gate and up on tensor cores. Every block routes for itself by its first warp, which
// runs softmax_keys.metal, experts_pick.cu and softmax_scores.metal, while its second lays x out.
using Rows = MmaRows<T, D>;
static_assert(WARPS == 2, "one warp routes, one lays x out");
DYNAMIC_SHARED(staged);
__shared__ uint picked[TOP];
__shared__ T weighted[TOP];
const int warp = threadIdx.x / 32;
const int slot = blockIdx.y;
unsigned* spread = reinterpret_cast<unsigned*>(staged + WARPS * Rows::BYTES);
inputs_ready();
if (warp == 1) {
  Rows::spread(spread, x, threadIdx.x % 32, 32);
} else {
