"""`visionstack demo`: deploy, stream, classify, prove the warm pool, and report, in one go."""
