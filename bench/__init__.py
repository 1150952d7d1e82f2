"""What a checked call costs beside a hand-written Envoy configuration and plain Envoy; how fast revocations and policies come in force; memory."""
