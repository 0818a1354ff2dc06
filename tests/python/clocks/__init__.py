"""The two clocks: when it was true, and when it was known."""
