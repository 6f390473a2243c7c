"""Which versions serve: states, catalog, and the manager that changes them."""
