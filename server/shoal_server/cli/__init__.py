"""The command line: `shoal serve`, and the commands that ask a server that runs."""
