// h[token, i] = silu(gate) * up of one dense MLP. A simdgroup takes ROWS rows i of one token.
const uint lane = thread_index_in_simdgroup;
const uint token = threadgroup_position_in_grid.z;
const uint first = (threadgroup_position_in_grid.y * SIMDGROUPS + simdgroup_index_in_threadgroup) * ROWS;
float gate[ROWS];
float up[ROWS];
gate_and_up<ROWS, VALUES, N, K, CONTRACT>(
    x + token * K, gate_w, gate_s, gate_b, up_w, up_s, up_b, first, lane, gate, up);
for (uint row = 0; row < ROWS; ++row) {
  const float g = simd_sum(gate[row]);
  const float u = simd_sum(up[row]);
  if (lane == row && first + row < N) {
    h[token * N + first + row] = swiglu<T, S, STOCK>(g, u);
  }
}
