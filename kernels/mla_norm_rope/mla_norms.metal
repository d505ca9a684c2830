// Between the projections of x and q_b, a threadgroup a token and part: 0 the RMS norm of q_a, 1 that of the latent,
// 2 the rotation of the key's position part. A norm adds fused squares as MLX's own does on this backend: READS
// neighbouring elements a thread, its simdgroup's butterfly, then the simdgroups'.
const uint lane = thread_index_in_simdgroup;
const uint thread_at = thread_position_in_threadgroup.x;
const uint part = threadgroup_position_in_grid.y;
const uint token = threadgroup_position_in_grid.z;
const uint row = token * (Q_RANK + RANK + ROPE);
if (part == 2) {
  const int position = offsets[OFFSETS == 1 ? 0 : token];
  for (uint pair = thread_at; pair < ROPE / 2; pair += THREADS) {
    const uint at = row + Q_RANK + RANK + 2 * pair;
    const float first = float(projected[at]), second = float(projected[at + 1]);
    const float angle = rope_angle(pair, ROPE / 2, float_of(uint(LOG2_BASE)), position);
    k_pe[token * ROPE + 2 * pair] = T(turned_first(first, second, angle));
    k_pe[token * ROPE + 2 * pair + 1] = T(turned_second(first, second, angle));
  }
  return;
}
const bool of_q = part == 0;
const uint size = of_q ? Q_RANK : RANK;
const uint from = of_q ? row : row + Q_RANK;
const uint own_first = thread_at * READS;
threadgroup float sums[32];
// READS divides both sizes: a thread's neighbours are all in the row, or none is.
const bool in_row = own_first < size;
Pack<T, READS> row_values, weights;
if (in_row) {
  row_values = load_pack<T, READS>(projected + from + own_first);
  weights = load_pack<T, READS>(of_q ? q_weight + own_first : kv_weight + own_first);
}
float values[READS];
float own = 0.0f;
for (int i = 0; i < READS; ++i) {
  values[i] = in_row ? float(row_values.at[i]) : 0.0f;
  own = fused(values[i], values[i], own);
}
own = simd_sum(own);
if (lane == 0) {
  sums[simdgroup_index_in_threadgroup] = own;
}
threadgroup_barrier(mem_flags::mem_threadgroup);
const float total = simd_sum(lane < THREADS / 32 ? sums[lane] : 0.0f);
const float scale = rsqrt_precise(add_rn(div_rn(total, float(size)), float_of(uint(of_q ? Q_EPS : KV_EPS))));
if (in_row) {
  for (int i = 0; i < READS; ++i) {
    row_values.at[i] = T(mul_rn(float(weights.at[i]), float(T(mul_rn(values[i], scale)))));
  }
  if (of_q) {
    store_pack<T, READS>(q_normed + token * Q_RANK + own_first, row_values);
  } else {
    store_pack<T, READS>(kv_latent + token * RANK + own_first, row_values);
  }
}
