"""The streaming lane: frames in over one connection, detections out on the same one.

The protocol (docs/protocol.md) is sans-I/O: `messages` are bytes, `protocol` holds the states and
limits of either end, `session` the promises about order and loss. `tcp` and `websocket` are shells
around them, `scheduler` and `pipeline` do the work, `server` composes all of it.
"""
