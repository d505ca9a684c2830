"""What weakens or prevents a measurement on this machine, and how to mend it."""
