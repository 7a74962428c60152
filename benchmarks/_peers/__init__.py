"""The servers that are compared: each serves one model with the same code around the engine."""
