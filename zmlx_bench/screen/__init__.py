"""Variants ranked in minutes: each crossed over with the stock model inside single processes. Never evidence."""
