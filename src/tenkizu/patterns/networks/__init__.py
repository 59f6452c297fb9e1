"""The backbones and what they share."""
