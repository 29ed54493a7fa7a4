"""The use cases: what flows, what is known beforehand, and what a good answer is."""
