"""Packages for Lambda and the instance, built without Docker for a chosen Python and architecture."""
