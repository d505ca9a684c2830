// h[slot, i] = silu(gate) * up of the expert inds[slot]; slot = token * PLACES + place. A simdgroup takes ROWS rows i.
const uint lane = thread_index_in_simdgroup;
const uint slot = threadgroup_position_in_grid.z;
const uint first = (threadgroup_position_in_grid.y * SIMDGROUPS + simdgroup_index_in_threadgroup) * ROWS;
const size_t words = size_t(inds[slot]) * N * (K / 8);
const size_t groups = size_t(inds[slot]) * N * (K / 64);
float gate[ROWS];
float up[ROWS];
gate_and_up<ROWS, VALUES, N, K, CONTRACT>(
    x + slot / PLACES * K,
    gate_w + words, gate_s + groups, gate_b + groups,
    up_w + words, up_s + groups, up_b + groups,
    first, lane, gate, up);
for (uint row = 0; row < ROWS; ++row) {
  const float g = simd_sum(gate[row]);
  const float u = simd_sum(up[row]);
  if (lane == row && first + row < N) {
    h[slot * N + first + row] = swiglu<T, S, STOCK>(g, u);
  }
}
