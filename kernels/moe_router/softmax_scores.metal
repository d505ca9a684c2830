// Last part: the sum of the chosen experts' probabilities and their quotients, in T.
float sum = 0.0f;
for (int r = 0; r < K; ++r) {
  sum = float(T(add_rn(sum, weights[r])));
}
if (lane == 0) {
  for (int r = 0; r < K; ++r) {
    inds[t * K + r] = chosen[r];
    scores[t * K + r] = T(NORMALIZE ? div_rn(weights[r], sum) : weights[r]);
  }
}
