"""Scores, baselines, intervals, calibration and thresholds; nothing here needs torch."""
