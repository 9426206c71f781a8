"""The demo of ``serve --demo``: a collection, devices, a gateway and firmware."""
