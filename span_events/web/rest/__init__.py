"""REST, as Span's."""
