"""What a model costs, and how its thresholds follow pictures."""
