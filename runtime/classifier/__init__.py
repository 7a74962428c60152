"""The Lambda function that classifies pictures: handler, logic, storage, in that order."""
