"""Small containers with a bound: what they drop when it is hit, each says. Pure: time is an argument."""
