"""Files and payloads of pictures."""
