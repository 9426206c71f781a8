"""Several processes as one service: a parent that starts, watches and stops them."""
