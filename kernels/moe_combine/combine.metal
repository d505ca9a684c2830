// out[t, d] = sum over e of y[t, e, d] * scores[t, e], experts ascending, one thread an element.
// Scores, products and partial sums are rounded to P. K is a constant, so the loop over 4 or 8 experts unrolls
// and the loads of y go out together.
const uint d = thread_position_in_grid.x;
const uint t = thread_position_in_grid.y;
if (d < D) {
  float total = 0.0f;
  for (int e = 0; e < K; ++e) {
    const float weight = float(P(float(scores[t * K + e])));
    const float value = float(y[(t * K + e) * D + d]);
    if (FUSED) {
      total = fused(value, weight, total);
    } else {
      const float product = float(P(mul_rn(value, weight)));
      total = float(P(add_rn(total, product)));
    }
  }
  out[t * D + d] = T(total);
}
