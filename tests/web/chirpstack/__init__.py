"""Events of ChirpStack servers over HTTP."""
