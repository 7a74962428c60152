"""Bringing stacks to a cloud, with cdk."""
