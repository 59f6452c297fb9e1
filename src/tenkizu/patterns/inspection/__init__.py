"""A look at a prepared store before anything is trained on it."""
