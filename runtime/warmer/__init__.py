"""The Lambda function that keeps N execution environments of another function warm, with proof."""
