"""Weather charts and score figures."""
