if (group == 0 && lane == 0) {
  stats[2 * row] = greatest;
  stats[2 * row + 1] = total;
}
