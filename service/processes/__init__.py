"""The process that the application runs in, or the several that serve as one: how they end, and what they tell each other."""
