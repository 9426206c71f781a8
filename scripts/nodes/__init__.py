"""A cluster on this machine, for trying out and for the tests: `scripts/cluster` runs it."""
