"""The serverless lane: the function, its API, runs over whole folders."""
