"""The machine around the server: AWS, GPUs, certificate, metrics, logs."""
