"""The `visionstack` command; all else below `visionstack` is a library."""
