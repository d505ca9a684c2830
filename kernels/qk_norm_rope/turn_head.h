// Norm and rotation of one head by one simdgroup, with the roundings of MLX's norm and of its rotation after it.
// The squares: READS neighbours a lane by fma in their order, then the lanes. The normed value is rounded to T before
// the weight and after it. The rotation pairs elements half a head apart; of its two products the first is fused.
template <typename T, int HD, int READS>
METAL_FUNC void turn_head(
    const device T* in,
    const device T* weight,
    device T* out,
    float eps,
    float position,
    float log2_base,
    uint lane) {
  float total = 0.0f;
  for (int i = 0; i < READS; ++i) {
    const uint d = lane * READS + i;
    const float value = d < HD ? float(in[d]) : 0.0f;
    total = fused(value, value, total);
  }
  const float scale = rsqrt_precise(add_rn(div_rn(simd_sum(total), float(HD)), eps));
  for (uint d = lane; d < HD / 2; d += 32) {
    const uint far = d + HD / 2;
    const float a = float(T(mul_rn(float(weight[d]), float(T(mul_rn(float(in[d]), scale))))));
    const float b = float(T(mul_rn(float(weight[far]), float(T(mul_rn(float(in[far]), scale))))));
    const float frequency = exp2_precise(mul_rn(-div_rn(float(d), float(HD / 2)), log2_base));
    const float angle = mul_rn(position, frequency);
    const float cosine = cos_of_rope(angle);
    const float sine = sin_of_rope(angle);
    out[d] = T(fused(a, cosine, -mul_rn(b, sine)));
    out[far] = T(fused(a, sine, mul_rn(b, cosine)));
  }
}
