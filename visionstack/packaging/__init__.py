"""Packages for Lambda and the instance, built from wheels, without Docker."""
