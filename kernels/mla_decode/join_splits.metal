// The splits of one head joined: partial (B, H, SPLITS, RANK) sums of weighted latents, each under its own maximum,
// stats (B, H, SPLITS, 2) that maximum and the sum of the weights. A thread an element.
const uint at = thread_position_in_grid.x;
const uint row = threadgroup_position_in_grid.y;
float greatest = stats[2 * row * SPLITS];
for (int i = 1; i < SPLITS; ++i) {
  const float other = stats[2 * (row * SPLITS + i)];
  greatest = greatest < other ? other : greatest;
}
float total = 0.0f;
float sum = 0.0f;
for (int i = 0; i < SPLITS; ++i) {
  const uint from = row * SPLITS + i;
  const float factor = exp_fast(stats[2 * from] - greatest);
  total = fused(stats[2 * from + 1], factor, total);
  if (at < RANK) {
    sum = fused(partial[from * RANK + at], factor, sum);
  }
}
if (at < RANK) {
  out[row * RANK + at] = T(div_rn(sum, total));
}
