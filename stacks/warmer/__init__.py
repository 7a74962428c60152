"""The function that keeps the classifier's environments warm."""
