"""What model families share, and one folder a family."""
