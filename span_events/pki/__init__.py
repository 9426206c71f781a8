"""Certificates: the authority that issues them, and the words for what is wrong with one."""
