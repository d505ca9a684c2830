// q_b by matrix-vector products, and what mla_heads.metal does with its output: a warp takes ROWS neighbouring rows,
// which lie in one head's part without position or are whole pairs of its other part.
using Rows = SlotRows<T, Q_RANK, 0>;
const int lane = threadIdx.x % 32;
const int row = (blockIdx.x * WARPS + threadIdx.x / 32) * ROWS;
const int token = blockIdx.y;
typename Rows::Row weights[ROWS];
#pragma unroll
for (int r = 0; r < ROWS; ++r) {
  weights[r] = Rows::request(w, s, z, row + r, lane);
}
Rows rows;
rows.load(q_normed + token * Q_RANK, lane);
const int head = row / (NOPE + ROPE);
const int at = row % (NOPE + ROPE);
const int pair = (at - NOPE) / 2 + lane;
const bool turns = at >= NOPE && lane < ROWS / 2;
const float angle = turns ? rope_angle(pair, ROPE / 2, float_of(uint(LOG2_BASE)), offsets[OFFSETS == 1 ? 0 : token]) : 0.0f;
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
