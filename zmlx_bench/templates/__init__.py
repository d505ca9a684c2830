"""What zmlx writes for a user to start from."""
