"""The sub-commands: each module adds its own arguments and carries them out."""
