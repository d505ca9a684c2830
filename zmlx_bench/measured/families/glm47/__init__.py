"""The family glm47."""
