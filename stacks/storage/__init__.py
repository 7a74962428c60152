"""The bucket that both lanes share."""
