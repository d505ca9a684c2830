"""One file a model family: where its sites are, its checkpoints, and its stock semantics."""
