"""Benchmarks: figures for the README, never assertions of a test."""
