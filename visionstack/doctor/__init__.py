"""What this machine and an account lack."""
