"""More cameras than this machine can show: the servers simulated, and AWS's limits around them."""
