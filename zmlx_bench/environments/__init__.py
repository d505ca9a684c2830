"""Python environments beside the one that zmlx is in: asked for, made, found, and handed the measured room."""
