"""Certificates: the authority that issues them, and the checks that explain their faults."""
