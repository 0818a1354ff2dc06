"""The client, its transports and its frames."""
