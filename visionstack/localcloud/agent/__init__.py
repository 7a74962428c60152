"""Does on this machine what EC2 and a Network Load Balancer would do for the deployed stacks."""
