"""The roles of a node: which parts it has, and how they are connected."""
