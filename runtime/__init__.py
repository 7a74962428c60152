"""What runs in the cloud. Each folder is packaged on its own."""
