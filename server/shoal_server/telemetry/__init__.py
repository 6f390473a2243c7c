"""What operators see: events in the log."""
