"""The streaming lane's server: frames in over one connection, detections out on the same one.

The protocol itself is `runtime.protocol` (docs/protocol.md). `transports` carry its messages,
`sessions` say who may connect and which answers are owed, `frames` decode and infer in threads,
`host` is the instance around the server; `server` composes all of it. docs/architecture.md follows
one frame through them.
"""
