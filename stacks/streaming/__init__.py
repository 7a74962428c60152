"""The streaming lane: instances that take streams, what is before and around."""
