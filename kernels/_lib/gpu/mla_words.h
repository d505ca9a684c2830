// MLX's rotation, traditional or not: an angle of position times 2^-(pair/pairs * log2 base), and two sums of which
// the second product is rounded and the first is fused, as both compilers contract them.
METAL_FUNC float rope_angle(uint pair, uint pairs, float log2_base, int position) {
  return mul_rn(exp2_precise(-mul_rn(div_rn(float(pair), float(pairs)), log2_base)), float(position));
}
METAL_FUNC float turned_first(float first, float second, float angle) {
  return fused(first, cos_of_rope(angle), -mul_rn(second, sin_of_rope(angle)));
}
METAL_FUNC float turned_second(float first, float second, float angle) {
  return fused(first, sin_of_rope(angle), mul_rn(second, cos_of_rope(angle)));
}
