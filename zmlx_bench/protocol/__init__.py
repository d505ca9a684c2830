"""The plan of a session: pure functions that recording and checking both stand on."""
