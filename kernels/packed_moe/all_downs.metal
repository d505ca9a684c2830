// out[d] of one token: the weighted sum of the chosen experts' down projections, rounded to T, plus the shared expert's.
// A threadgroup takes ROWS rows, a simdgroup of it one expert, the last one the shared expert. Every product is rounded
// to T, as stored; scores, weighted products and partial sums are rounded to P, and places are added in their order.
const uint lane = thread_index_in_simdgroup;
const uint place = simdgroup_index_in_threadgroup;
const uint first = threadgroup_position_in_grid.y * ROWS;
const bool shared = place == PLACES;
const size_t expert = shared ? 0 : inds[place];
const size_t words = expert * N * (K * BITS / 32);
const size_t groups = expert * N * (K / GROUP);
threadgroup float y[(PLACES + 1) * ROWS];
float totals[ROWS];
for (int row = 0; row < ROWS; ++row) {
  totals[row] = 0.0f;
}
float values[VALUES];
for (uint k = lane * VALUES; k < K; k += 32 * VALUES) {
  const float sum = load_packed<BITS, FLOATS, VALUES>(h + place * K + k, values);
  add_packed<BITS, GROUP, FLOATS, ROWS, VALUES, N, K>(
      (shared ? shared_down_w : down_w) + words,
      (shared ? shared_down_s : down_s) + groups, (shared ? shared_down_b : down_b) + groups,
      first, k, values, sum, totals);
}
for (uint row = 0; row < ROWS; ++row) {
  const float total = simd_sum(totals[row]);
  if (lane == row) {
    y[place * ROWS + row] = float(T(total));
  }
}
threadgroup_barrier(mem_flags::mem_threadgroup);
if (place == 0 && lane < ROWS && first + lane < N) {
  float total = 0.0f;
  for (int e = 0; e < PLACES; ++e) {
    const float weight = float(P(float(scores[e])));
    total = float(P(add_rn(total, float(P(mul_rn(y[e * ROWS + lane], weight))))));
  }
  out[first + lane] = T(add_rn(float(T(total)), y[PLACES * ROWS + lane]));
}
