import os

from hypothesis import settings

# Thousands of mutants are each tried in a second; what a property alone finds wants a test at the boundary.
settings.register_profile("mutants", deadline=None, max_examples=8)
if "MUTANT_UNDER_TEST" in os.environ:
    settings.load_profile("mutants")
