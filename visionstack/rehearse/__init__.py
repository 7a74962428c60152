"""`visionstack rehearse`: both lanes from nothing to nothing left, and a report for an issue."""
