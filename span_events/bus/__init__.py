"""The bus: carries events from the fleet to history and fan-out."""
