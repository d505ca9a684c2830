// Second part: the K most probable in ascending order; of equals the higher index is the larger.
uint chosen[K];
float weights[K];
for (int r = K - 1; r >= 0; --r) {
  const Pick picked = pick<READS, true>(keys, lane);
  chosen[r] = picked.expert;
  weights[r] = sorted_float(picked.key);
}
