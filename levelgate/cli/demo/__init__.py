"""What `levelgate run-local` shows on a running local stack: install, send every sample, follow each to its end."""
