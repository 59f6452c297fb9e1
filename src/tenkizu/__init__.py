"""tenkizu (天気図): pressure patterns and hourly rain for people who work with weather."""

__version__ = "0.1.0"
