"""Commands that show and change resources: a file per resource."""
