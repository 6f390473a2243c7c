"""May it come in? Bounds on what the server holds."""
