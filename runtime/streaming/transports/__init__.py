"""What carries messages: TCP, and WebSocket with the camera page."""
