"""A custom resource: which machine image a stack's instances start from."""
