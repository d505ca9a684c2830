from hypothesis import settings

# Other work on the machine must not fail a property.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")
