"""What happens to a frame: decoded, inferred, tracked; in threads."""
