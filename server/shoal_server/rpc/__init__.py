"""The protocol: bytes to requests, answers to bytes, errors to statuses."""
