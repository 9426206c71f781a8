"""The commands of ``simulate``."""
