"""Connections and streams: who may connect, what is promised to whom."""
