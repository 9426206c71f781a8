"""The commands of ``firmware``."""
