"""Several processes that serve as one: a parent that accepts connections, its workers, and what they tell each other."""
