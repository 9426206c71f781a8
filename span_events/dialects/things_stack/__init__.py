"""The Things Stack's API of events: names, identifiers, JSON, protobuf, requests and errors."""
