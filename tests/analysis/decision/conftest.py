import os

from hypothesis import settings

# Other work on the machine must not fail a property.
settings.register_profile("unhurried", deadline=None)
# Thousands of mutants are each tried in a second; what a property alone finds wants a test at the boundary.
settings.register_profile("mutants", deadline=None, max_examples=8)
settings.load_profile("mutants" if "MUTANT_UNDER_TEST" in os.environ else "unhurried")
