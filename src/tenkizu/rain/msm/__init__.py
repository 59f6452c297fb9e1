"""JMA's MSM forecasts: GRIB2 files in, monthly NetCDF and samples out."""
