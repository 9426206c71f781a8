"""The settings: every section of the configuration with its fields, defaults and descriptions."""
