"""What a check finds: where, what, and what was expected."""
