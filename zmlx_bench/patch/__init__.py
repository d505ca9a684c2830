"""Names of before version 0.2, for one release: see `zmlx_bench.measured.api`."""
