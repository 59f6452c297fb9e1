"""Channels and their formulas: derived fields, seasons, coarser grids."""
