// q (B, 1, H * (NOPE + ROPE)) cut into its heads, a threadgroup a head: the part without position as it is, the other
// rotated and rounded to T. Each is then multiplied by its scale and rounded, as a product of its own would be.
const uint thread_at = thread_position_in_threadgroup.x;
const uint head = threadgroup_position_in_grid.y;
const uint token = threadgroup_position_in_grid.z;
const uint from = (token * H + head) * (NOPE + ROPE);
if (thread_at < NOPE) {
  q_nope[(token * H + head) * NOPE + thread_at] = T(mul_rn(float(q[from + thread_at]), float_of(uint(NOPE_SCALE))));
} else if (thread_at < NOPE + ROPE / 2) {
  const uint pair = thread_at - NOPE;
  const uint at = from + NOPE + 2 * pair;
  const uint to = (token * H + head) * ROPE + 2 * pair;
  const float first = float(q[at]), second = float(q[at + 1]);
  const float angle = rope_angle(pair, ROPE / 2, float_of(uint(LOG2_BASE)), offsets[OFFSETS == 1 ? 0 : token]);
  q_pe[to] = T(mul_rn(float(T(turned_first(first, second, angle))), float_of(uint(PE_SCALE))));
  q_pe[to + 1] = T(mul_rn(float(T(turned_second(first, second, angle))), float_of(uint(PE_SCALE))));
}
