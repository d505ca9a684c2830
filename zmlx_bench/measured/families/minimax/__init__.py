"""The family minimax."""
