"""The operation of a server: `shoal.admin.v1`."""
