"""The settings of a deployment: read, checked, refused in sentences."""
