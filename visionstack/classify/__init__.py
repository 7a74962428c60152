"""Clients of the serverless lane."""
