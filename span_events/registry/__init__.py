"""What is known: collections, devices, tokens, waiting messages."""
