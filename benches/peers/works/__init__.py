"""The works of the comparison: one module each, and what they share."""
