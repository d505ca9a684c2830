"""`zmlx check`: recompute every artifact from the raw numbers and hashes; one module an artifact."""
