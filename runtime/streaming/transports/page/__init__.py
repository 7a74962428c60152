"""The page for browsers: its files lie here, `serving.py` answers requests for them."""
