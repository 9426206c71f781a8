"""Servers under test: this project's and bare ones, each a process of its own."""
