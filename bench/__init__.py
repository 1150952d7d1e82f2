"""What a checked call costs: the gateway, a hand-written Envoy configuration and plain Envoy, side by side in one run."""
