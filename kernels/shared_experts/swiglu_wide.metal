// h[token, i] = silu(gate) * up of one dense MLP for TOKENS tokens at once, in the order of MLX's qmv_wide: 8 lanes a
// row take every 8th group of 64; weights are dequantised and meet every token in eights; the lanes' sums are added
// 4, 2, 1 apart. Contracted as MLX's kernel is, see metal_qmv.h.
const uint lane = thread_index_in_simdgroup;
const uint part = lane % 8;
const uint row = (threadgroup_position_in_grid.y * SIMDGROUPS + simdgroup_index_in_threadgroup) * 4 + lane / 8;
const uint at = row < N ? row : N - 1;
float gate[TOKENS] = {0.0f};
float up[TOKENS] = {0.0f};
for (uint group = part; group < K / 64; group += 8) {
  const uint place = at * (K / 64) + group;
  for (uint k = group * 64; k < group * 64 + 64; k += 8) {
    float gates[8];
    float ups[8];
    dequantise(gate_w[(at * K + k) / 8], float(gate_s[place]), float(gate_b[place]), gates);
    dequantise(up_w[(at * K + k) / 8], float(up_s[place]), float(up_b[place]), ups);
    for (int token = 0; token < TOKENS; ++token) {
      float values[8];
      for (int i = 0; i < 8; ++i) {
        values[i] = float(x[token * K + k + i]);
      }
      gate[token] = add_rn(gate[token], dot_of_eight(values, gates));
      up[token] = add_rn(up[token], dot_of_eight(values, ups));
    }
  }
}
for (int token = 0; token < TOKENS; ++token) {
  float g = gate[token];
  float u = up[token];
  for (int lanes = 4; lanes > 0; lanes /= 2) {
    g = add_rn(g, simd_shuffle_xor(g, lanes));
    u = add_rn(u, simd_shuffle_xor(u, lanes));
  }
  if (part == 0 && row < N) {
    h[token * N + row] = swiglu<T, S, true>(g, u);
  }
}
