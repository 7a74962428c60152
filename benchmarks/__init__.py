"""`make bench`: ratios measured in one run, against peers and against the machine's limit."""
