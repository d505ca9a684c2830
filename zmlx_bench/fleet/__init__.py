"""A fleet: the same question on every device that there is, by sessions on many machines."""
