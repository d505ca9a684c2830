"""One module a command: each parses and prints, and decides nothing."""
