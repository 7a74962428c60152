"""The embedded cloud: MiniStack, and what it lacks (instances that boot, a load balancer)."""
