"""The real parts of the stack without Docker: what `levelgate up`, `make run-local` and the tests start."""
