"""Test equipment: servers, clients, clocks and certificates that tests and benchmarks share."""
