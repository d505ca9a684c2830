// Everything between the joined projection and embed_q: the norm of q_a, q_b by matrix-vector products and what
// mla_heads.gpu does with its output; by one more block each the latent's norm and the rotation of the key's position
// part. Every block norms q_a for itself, with the roundings of mla_norms.gpu: its threads are those of MLX's norm.
// A warp takes ROWS neighbouring rows of q_b, which lie in one head's part without position or are pairs of the other.
using Rows = SlotRows<T, Q_RANK, 0>;
constexpr int BLOCKS = H * (NOPE + ROPE) / (WARPS * ROWS);
__shared__ float sums[WARPS];
__shared__ alignas(16) T q_normed[Q_RANK];
const int lane = threadIdx.x % 32;
const int token = blockIdx.y;
const T* from = projected + token * (Q_RANK + RANK + ROPE);
const int position = offsets[OFFSETS == 1 ? 0 : token];
if (blockIdx.x > BLOCKS) {
  if (threadIdx.x < ROPE / 2) {
    Pack<T, 2> both = load_pack<T, 2>(from + Q_RANK + RANK + 2 * threadIdx.x);
    const float first = float(both.at[0]), second = float(both.at[1]);
    const float angle = rope_angle(threadIdx.x, ROPE / 2, float_of(uint(LOG2_BASE)), position);
    both.at[0] = T(turned_first(first, second, angle));
    both.at[1] = T(turned_second(first, second, angle));
    store_pack<T, 2>(k_pe + token * ROPE + 2 * threadIdx.x, both);
  }
  return;
}
const bool of_q = blockIdx.x < BLOCKS;
const int row = (blockIdx.x * WARPS + threadIdx.x / 32) * ROWS;
typename Rows::Row weights[ROWS];
if (of_q) {
#pragma unroll
  for (int r = 0; r < ROWS; ++r) {
    weights[r] = Rows::request(w, s, z, row + r, lane);
  }
}
const int size = of_q ? Q_RANK : RANK;
const int own_first = threadIdx.x * READS;
const bool in_row = own_first < size;
Pack<T, READS> values, norm_weights;
if (in_row) {
  values = load_pack<T, READS>(from + (of_q ? 0 : Q_RANK) + own_first);
  norm_weights = load_pack<T, READS>((of_q ? q_weight : kv_weight) + own_first);
}
float own = 0.0f;
#pragma unroll
for (int i = 0; i < READS; ++i) {
  const float value = in_row ? float(values.at[i]) : 0.0f;
  own = fused(value, value, own);
}
own = simd_sum(own);
if (lane == 0) {
  sums[threadIdx.x / 32] = own;
}
__syncthreads();
const float total = simd_sum(lane < WARPS ? sums[lane] : 0.0f);
const float scale = rsqrt_precise(add_rn(div_rn(total, float(size)), float_of(uint(of_q ? Q_EPS : KV_EPS))));
if (in_row) {
#pragma unroll
  for (int i = 0; i < READS; ++i) {
    values.at[i] = T(mul_rn(float(norm_weights.at[i]), float(T(mul_rn(float(values.at[i]), scale)))));
  }
  store_pack<T, READS>((of_q ? q_normed : kv_latent + token * RANK) + own_first, values);
}
if (!of_q) {
  return;
}
__syncthreads();
Rows rows;
rows.load(q_normed, lane);
const int head = row / (NOPE + ROPE);
const int at = row % (NOPE + ROPE);
const int pair = (at - NOPE) / 2 + lane;
const bool turns = at >= NOPE && lane < ROWS / 2;
const float angle = turns ? rope_angle(pair, ROPE / 2, float_of(uint(LOG2_BASE)), position) : 0.0f;
float first = 0.0f, second = 0.0f;
#pragma unroll
for (int r = 0; r < ROWS; ++r) {
  const float y = float(T(rows.multiply(weights[r], lane)));
  if (at < NOPE && lane == 0) {
    q_nope[(token * H + head) * NOPE + at + r] = T(mul_rn(y, float_of(uint(NOPE_SCALE))));
  }
  if (lane == r / 2) {
    (r % 2 == 0 ? first : second) = y;
  }
}
if (turns) {
  T* to = q_pe + (token * H + head) * ROPE + 2 * pair;
  to[0] = T(mul_rn(float(T(turned_first(first, second, angle))), float_of(uint(PE_SCALE))));
  to[1] = T(mul_rn(float(T(turned_second(first, second, angle))), float_of(uint(PE_SCALE))));
}
