// out[t, d] = sum over places e of scores[t, e] * (h[t, e] . row d of expert inds[t, e]). A threadgroup takes ROWS rows
// of one token, a simdgroup of it one place; y goes through threadgroup memory rounded to T, as stored, and places are
// added in their order. Scores, products and partial sums are rounded to P.
const uint lane = thread_index_in_simdgroup;
const uint place = simdgroup_index_in_threadgroup;
const uint t = threadgroup_position_in_grid.z;
const uint first = threadgroup_position_in_grid.y * ROWS;
const uint slot = t * PLACES + place;
const size_t words = size_t(inds[slot]) * N * (K * BITS / 32);
const size_t groups = size_t(inds[slot]) * N * (K / GROUP);
threadgroup float y[PLACES * ROWS];
float totals[ROWS];
for (int row = 0; row < ROWS; ++row) {
  totals[row] = 0.0f;
}
float values[VALUES];
for (uint k = lane * VALUES; k < K; k += 32 * VALUES) {
  const float sum = load_packed<BITS, FLOATS, VALUES>(h + slot * K + k, values);
  add_packed<BITS, GROUP, FLOATS, ROWS, VALUES, N, K>(
      w + words, scales + groups, biases + groups, first, k, values, sum, totals);
}
for (uint row = 0; row < ROWS; ++row) {
  const float total = simd_sum(totals[row]);
  if (lane == row && first + row < N) {
    y[place * ROWS + row] = float(T(with_bias<BIASED, T>(total, bias, size_t(inds[slot]) * N + first + row)));
  }
}
threadgroup_barrier(mem_flags::mem_threadgroup);
if (place == 0 && lane < ROWS && first + lane < N) {
  float total = 0.0f;
  for (int e = 0; e < PLACES; ++e) {
    const float weight = float(P(float(scores[t * PLACES + e])));
    total = float(P(add_rn(total, float(P(mul_rn(y[e * ROWS + lane], weight))))));
  }
  out[t * N + first + lane] = T(total);
}
