"""Clients that load the servers under test."""
