"""Protocol definitions, and the modules that scripts/proto generates from them."""
