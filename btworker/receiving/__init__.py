"""Bytes from the network on their way to a durable file, for uploads and for downloads. Parent."""
