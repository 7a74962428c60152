"""Every table and figure of the two papers, with the paper's value beside ours: `docs/papers.md`.

What the project measured is read from the JSON that its commands left; what is not there is said
to be missing, with the command that makes it and, where none can here, the reason.
"""
