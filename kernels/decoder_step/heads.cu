// Add, norm, the joined projection of one head, and that head's norm and rotation: a block a head of q, k or v.
// All weights of the head are requested into shared memory before the norm; a stage of them is used while the later
// ones are under way. Rows are multiplied as MLX's matrix-vector kernel does.
using Rows = SlotRows<T, D, 0>;
constexpr int STAGE = HD / STAGES;
constexpr int OWN = STAGE / WARPS;
constexpr int GROUPS = D / GROUP;
constexpr int ROW_BYTES = D / 2;
constexpr int SCALE_BYTES = GROUPS * 2;
DYNAMIC_SHARED(staged);
__shared__ __align__(16) T normed[D];
__shared__ __align__(16) T raw[HD];
__shared__ float sums[32];
const int lane = threadIdx.x % 32;
const int warp = threadIdx.x / 32;
const int head = blockIdx.x;
const size_t first = size_t(head) * HD;
unsigned char* own_s = staged + HD * ROW_BYTES;
unsigned char* own_z = own_s + HD * SCALE_BYTES;
#pragma unroll
for (int stage = 0; stage < STAGES; ++stage) {
  const int row = stage * STAGE;
  copy_block<WARPS * 32>(staged + row * ROW_BYTES, w + (first + row) * (D / 8), STAGE * ROW_BYTES);
  copy_block<WARPS * 32>(own_s + row * SCALE_BYTES, s + (first + row) * GROUPS, STAGE * SCALE_BYTES);
  copy_block<WARPS * 32>(own_z + row * SCALE_BYTES, z + (first + row) * GROUPS, STAGE * SCALE_BYTES);
  close_copies();
}
add_norm<T, D, NORM_READS, NORM_CHUNKS, NORM_THREADS, ADD>(
    x, r, norm_weight, head == 0 ? h : nullptr, normed, sums, float_of(uint(NORM_EPS)));
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
      raw[row] = T(sum);
    }
  }
}
__syncthreads();
const float position = float(offsets[0]);
if (head >= HQ + HK) {
  if (threadIdx.x < HD) {
    v[(head - HQ - HK) * HD + threadIdx.x] = raw[threadIdx.x];
  }
} else if (warp == 0) {
  const bool of_q = head < HQ;
  turn_head<T, HD, READS>(
      raw, of_q ? q_weight : k_weight, of_q ? q + head * HD : k + (head - HQ) * HD,
      float_of(uint(of_q ? Q_EPS : K_EPS)), position, float_of(uint(LOG2_BASE)), lane);
}
