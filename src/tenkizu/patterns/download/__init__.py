"""ERA5 from the Climate Data Store to checked files on disk."""
