"""Attacks: one client does its worst, and the messages of another device are measured meanwhile."""
