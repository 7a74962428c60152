"""Clouds, what is deployed on them, and how requests to them are signed."""
