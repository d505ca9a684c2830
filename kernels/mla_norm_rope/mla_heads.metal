// q (B, 1, H * (NOPE + ROPE)) cut into its heads, a threadgroup a head: the part without position as it is, 8
// neighbours a thread, the other rotated and rounded to T. Each is then multiplied by its scale and rounded, as a product of its own would be.
const uint thread_at = thread_position_in_threadgroup.x;
const uint head = threadgroup_position_in_grid.y;
const uint token = threadgroup_position_in_grid.z;
const uint from = (token * H + head) * (NOPE + ROPE);
if (thread_at < NOPE / 8) {
  Pack<T, 8> plain = load_pack<T, 8>(q + from + 8 * thread_at);
  for (int i = 0; i < 8; ++i) {
    plain.at[i] = T(mul_rn(float(plain.at[i]), float_of(uint(NOPE_SCALE))));
  }
  store_pack<T, 8>(q_nope + (token * H + head) * NOPE + 8 * thread_at, plain);
} else if (thread_at < NOPE / 8 + ROPE / 2) {
  const uint pair = thread_at - NOPE / 8;
  Pack<T, 2> both = load_pack<T, 2>(q + from + NOPE + 2 * pair);
  const float first = float(both.at[0]), second = float(both.at[1]);
  const float angle = rope_angle(pair, ROPE / 2, float_of(uint(LOG2_BASE)), offsets[OFFSETS == 1 ? 0 : token]);
  both.at[0] = T(mul_rn(float(T(turned_first(first, second, angle))), float_of(uint(PE_SCALE))));
  both.at[1] = T(mul_rn(float(T(turned_second(first, second, angle))), float_of(uint(PE_SCALE))));
  store_pack<T, 2>(q_pe + (token * H + head) * ROPE + 2 * pair, both);
}
