"""The function that empties a bucket before CloudFormation deletes it."""
