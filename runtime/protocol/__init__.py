"""The streaming protocol, both ends of it, without any I/O: docs/protocol.md."""
