// Add, norm and OWN_ROWS rows of the joined projection of q, k and v.
// All weights of a block are requested into shared memory before the norm; a stage of them is used while the later
// ones are under way. Rows are multiplied as MLX's matrix-vector kernel does. v begins at V_FIRST, its heads V_STRIDE
// apart. heads_turn.cu may follow.
using Rows = SlotRows<T, D, 0>;
constexpr int STAGE = OWN_ROWS / STAGES;
constexpr int OWN = STAGE / WARPS;
constexpr int GROUPS = D / GROUP;
constexpr int ROW_BYTES = D / 2;
constexpr int SCALE_BYTES = GROUPS * 2;
DYNAMIC_SHARED(staged);
__shared__ __align__(16) T normed[D];
__shared__ float sums[32];
const int lane = threadIdx.x % 32;
const int warp = threadIdx.x / 32;
const size_t first = size_t(blockIdx.x) * OWN_ROWS;
unsigned char* own_s = staged + OWN_ROWS * ROW_BYTES;
unsigned char* own_z = own_s + OWN_ROWS * SCALE_BYTES;
#pragma unroll
for (int stage = 0; stage < STAGES; ++stage) {
  const int row = stage * STAGE;
  copy_block<WARPS * 32>(staged + row * ROW_BYTES, w + (first + row) * (D / 8), STAGE * ROW_BYTES);
  copy_block<WARPS * 32>(own_s + row * SCALE_BYTES, s + (first + row) * GROUPS, STAGE * SCALE_BYTES);
  copy_block<WARPS * 32>(own_z + row * SCALE_BYTES, z + (first + row) * GROUPS, STAGE * SCALE_BYTES);
  close_copies();
}
inputs_ready();
add_norm<T, D, NORM_READS, NORM_CHUNKS, NORM_THREADS, ADD>(
    x, r, norm_weight, blockIdx.x == 0 ? h : nullptr, normed, sums, float_of(uint(NORM_EPS)));
Rows rows;
rows.load(normed, lane);
#pragma unroll
for (int stage = 0; stage < STAGES; ++stage) {
  await_copies(STAGES - 1 - stage);
  __syncthreads();
#pragma unroll
  for (int own = 0; own < OWN; ++own) {
    const int row = stage * STAGE + warp * OWN + own;
    const typename Rows::Row weights = Rows::request(
        reinterpret_cast<const uint32_t*>(staged), reinterpret_cast<const T*>(own_s), reinterpret_cast<const T*>(own_z),
        row, lane);
    const float sum = rows.multiply(weights, lane);
    if (lane == 0) {
      const int of_all = int(first) + row;
      const int of_k = of_all - HQ * HD;
      const int of_v = of_k - HK * HD;
      T* out = of_v >= 0 ? v + V_FIRST + of_v / HD * V_STRIDE + of_v % HD : of_k >= 0 ? k + of_k : q + of_all;
      *out = T(sum);
    }
  }
}
