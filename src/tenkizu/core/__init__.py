"""The ground floor both systems stand on; it knows neither of them."""
