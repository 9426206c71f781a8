"""Small containers with a bound; each documents its eviction. Pure: time is an argument."""
