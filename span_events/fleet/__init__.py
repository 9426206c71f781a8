"""The fleet: decides what each input of a device means, and publishes the event; no other part publishes."""
