"""Blobs, results and traces: kept once, verified on read, shared by many builds."""
