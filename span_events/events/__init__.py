"""Activity events as values: the catalogue, reasons with hints, filters and the history."""
