"""A server, real models and many callers, to see it all work: `python -m shoal_server.demo`."""
