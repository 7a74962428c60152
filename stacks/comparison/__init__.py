"""Machines that measure themselves for a comparison."""
