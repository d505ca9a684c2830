// Add, norm, the joined projection of one head, and that head's norm and rotation: PARTS blocks a head of q, k or v.
// All weights of a block are requested into shared memory before the norm; a stage of them is used while the later
// ones are under way. Rows are multiplied as MLX's matrix-vector kernel does. A head's norm needs all its rows: the
// block that ends last turns the head. k and v begin at KV_FIRST, their heads KV_STRIDE apart. `tickets` counts the blocks of a head that ended and is zero between launches.
using Rows = SlotRows<T, D, 0>;
constexpr int OWN_ROWS = HD / PARTS;
constexpr int STAGE = OWN_ROWS / STAGES;
constexpr int OWN = STAGE / WARPS;
constexpr int GROUPS = D / GROUP;
constexpr int ROW_BYTES = D / 2;
constexpr int SCALE_BYTES = GROUPS * 2;
DYNAMIC_SHARED(staged);
__shared__ __align__(16) T normed[D];
__shared__ __align__(16) T whole[HD];
__shared__ float sums[32];
__shared__ bool last;
const int lane = threadIdx.x % 32;
const int warp = threadIdx.x / 32;
const int head = blockIdx.x / PARTS;
const int part = blockIdx.x % PARTS;
const size_t first = size_t(head) * HD + part * OWN_ROWS;
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
const bool of_q = head < HQ;
const bool of_v = head >= HQ + HK;
T* out = of_q ? q + head * HD : of_v ? v + (head - HQ - HK) * KV_STRIDE + KV_FIRST : k + (head - HQ) * KV_STRIDE + KV_FIRST;
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
      out[part * OWN_ROWS + row] = T(sum);
    }
  }
}
if (of_v) {
  return;
}
// Every writer's rows are seen by all blocks before its block takes a ticket, and read past L1 by the last.
__threadfence();
__syncthreads();
if (threadIdx.x == 0) {
  unsigned* ticket = const_cast<unsigned*>(tickets) + head;
  last = atomicAdd(ticket, 1u) == PARTS - 1;
  if (last) {
    *ticket = 0;
  }
}
__syncthreads();
if (!last || warp != 0) {
  return;
}
__threadfence();
for (int i = lane * 16 / int(sizeof(T)); i < HD; i += 512 / int(sizeof(T))) {
  copy_16_bytes(whole + i, out + i);
}
close_copies();
await_copies(0);
__syncwarp();
turn_head<T, HD, READS>(
    whole, of_q ? q_weight : k_weight, out, float_of(uint(of_q ? Q_EPS : K_EPS)), float(offsets[0]),
    float_of(uint(LOG2_BASE)), lane);
