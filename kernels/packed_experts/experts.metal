// h[slot, i] = silu(gate) * up of the expert inds[slot], or the clamped form of it; slot = token * PLACES + place. A
// simdgroup takes ROWS rows i.
const uint lane = thread_index_in_simdgroup;
const uint slot = threadgroup_position_in_grid.z;
const uint first = (threadgroup_position_in_grid.y * SIMDGROUPS + simdgroup_index_in_threadgroup) * ROWS;
const size_t words = size_t(inds[slot]) * N * (K * BITS / 32);
const size_t groups = size_t(inds[slot]) * N * (K / GROUP);
float gate[ROWS];
float up[ROWS];
for (int row = 0; row < ROWS; ++row) {
  gate[row] = 0.0f;
  up[row] = 0.0f;
}
float values[VALUES];
for (uint k = lane * VALUES; k < K; k += 32 * VALUES) {
  const float sum = load_packed<BITS, FLOATS, VALUES>(x + slot / PLACES * K + k, values);
  add_packed<BITS, GROUP, FLOATS, ROWS, VALUES, N, K>(
      gate_w + words, gate_s + groups, gate_b + groups, first, k, values, sum, gate);
  add_packed<BITS, GROUP, FLOATS, ROWS, VALUES, N, K>(
      up_w + words, up_s + groups, up_b + groups, first, k, values, sum, up);
}
for (uint row = 0; row < ROWS; ++row) {
  const float g = simd_sum(gate[row]);
  const float u = simd_sum(up[row]);
  if (lane == row && first + row < N) {
    const size_t at = size_t(inds[slot]) * N + first + row;
    const float biased = with_bias<BIASED, T>(g, gate_bias, at);
    const float other = with_bias<BIASED, T>(u, up_bias, at);
    h[slot * N + first + row] = CLAMPED ? clamped_swiglu<T, S>(biased, other, float_of(ALPHA), float_of(LIMIT))
                                        : swiglu<T, S, true>(biased, other);
  }
}
