  for (int r = 0; r < K; ++r) {
    if (lane == 0 && r == slot) {
      slot_weights[slot] = scores[r];
    }
  }
}
float sums[4];
Rows::multiply(sums, own, spread, lane);
if (lane % 4 == 0) {
  h[slot * I + row + lane / 4] = swiglu(T(sums[0]), T(sums[2]));
}
