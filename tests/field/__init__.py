"""Faults found in the field: one test per entry of the reports."""
