// h[slot, i] = silu(gate) * up of one token: slots 0..PLACES-1 are the chosen experts, slot PLACES is the shared one. A
// simdgroup takes ROWS rows i.
const uint lane = thread_index_in_simdgroup;
const uint slot = threadgroup_position_in_grid.z;
const uint first = (threadgroup_position_in_grid.y * SIMDGROUPS + simdgroup_index_in_threadgroup) * ROWS;
const bool shared = slot == PLACES;
const size_t expert = shared ? 0 : inds[slot];
const size_t words = expert * N * (K * BITS / 32);
const size_t groups = expert * N * (K / GROUP);
float gate[ROWS];
float up[ROWS];
for (int row = 0; row < ROWS; ++row) {
  gate[row] = 0.0f;
  up[row] = 0.0f;
}
float values[VALUES];
for (uint k = lane * VALUES; k < K; k += 32 * VALUES) {
  const float sum = load_packed<BITS, FLOATS, VALUES>(x + k, values);
  add_packed<BITS, GROUP, FLOATS, ROWS, VALUES, N, K>(
      (shared ? shared_gate_w : gate_w) + words,
      (shared ? shared_gate_s : gate_s) + groups, (shared ? shared_gate_b : gate_b) + groups,
      first, k, values, sum, gate);
  add_packed<BITS, GROUP, FLOATS, ROWS, VALUES, N, K>(
      (shared ? shared_up_w : up_w) + words,
      (shared ? shared_up_s : up_s) + groups, (shared ? shared_up_b : up_b) + groups,
      first, k, values, sum, up);
}
for (uint row = 0; row < ROWS; ++row) {
  const float g = simd_sum(gate[row]);
  const float u = simd_sum(up[row]);
  if (lane == row && first + row < N) {
    h[slot * N + first + row] = swiglu<T, S, true>(g, u);
  }
}
